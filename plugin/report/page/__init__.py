"""The page: what sections consist of, the HTML they become (templates/), and matplotlib's figures as SVG."""
