"""The client's side: channels, leader discovery, batching."""
