"""The bundled open/close clips, and the demo on them."""
