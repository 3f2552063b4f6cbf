"""The pages in a real browser, headless: by keyboard, with and without script."""
