"""Cards of what is published: templates beside this file, and their renderer."""
