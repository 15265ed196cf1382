"""One HTML file that shows what runs say, and each of its figures and tables for papers."""
