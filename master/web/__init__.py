"""Flask: the application factory, pages and REST."""
