print("sq-train")
