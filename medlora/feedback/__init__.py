"""What people said of answers: ratings, corrections, votes. One SQLite file in the private folder."""
