"""Labels by which a box knows its own containers and networks. They hold ids, never secrets."""

LABEL_BOX = "openraas.box"
LABEL_INSTANCE = "openraas.instance"
LABEL_GENERATION = "openraas.generation"
LABEL_DEPLOYMENT = "openraas.deployment"
