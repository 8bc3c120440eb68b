"""Inventory control: stores and the networks that supply them, and their exact optima."""
