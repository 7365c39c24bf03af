"""The page's tabs: one module each, with one public function `tab`; they do not import each other."""
