"""From a published folder to what is online: checks, the leak check, Croissant, the Hub."""
