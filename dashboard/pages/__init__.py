"""The pages: one module for each, a handler for each route, and the table of all routes."""
