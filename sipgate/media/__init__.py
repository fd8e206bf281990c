"""RTP to sealed audio during the call; afterwards sealed audio and film to one WebM."""
