"""What of docs/ is made from the program itself: the references, and what its commands print."""
