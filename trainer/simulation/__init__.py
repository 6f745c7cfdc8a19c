"""LIBERO: scripted experts and the recorder with exact depth and flow. Needs the extra [libero]."""
