"""What people look at: tables, figures, the page, and what is published of a run."""
