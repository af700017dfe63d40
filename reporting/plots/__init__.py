"""The plots of the page as plain data in Plotly's format; Plotly runs in the browser only."""
