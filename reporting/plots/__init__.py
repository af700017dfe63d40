"""The page's plots as Plotly figures."""
