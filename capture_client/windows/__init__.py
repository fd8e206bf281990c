"""Which pixels: the business application's own windows, one module per desktop."""
