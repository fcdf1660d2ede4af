"""Reading model files made elsewhere: hub, folders, weights, descriptions."""
