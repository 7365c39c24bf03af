"""What `python app.py` and a Hugging Face Space run: build the page and launch it. `python3 run.py` sets up first.

PORT or GRADIO_SERVER_PORT choose the port, XM_MODEL the checkpoint.
"""

import logging

from xm.ui import launch

if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("xm").setLevel(logging.INFO)
    launch()
