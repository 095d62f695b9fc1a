"""Start medlora: `python app.py`, then open the address it prints."""

from medlora.ui.launch import main

if __name__ == "__main__":
    main()
