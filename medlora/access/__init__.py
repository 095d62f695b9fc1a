"""Who may use the app, and for what: roles, users, sessions. Free of the page and of the web server."""
