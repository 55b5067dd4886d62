"""What a night tells those who are not watching: lines in a file, and a message where it failed."""
