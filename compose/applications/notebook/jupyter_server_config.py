"""Settings of JupyterLab behind the gateway."""

c = get_config()  # noqa: F821 - Jupyter provides it

c.ServerApp.ip = "0.0.0.0"
c.ServerApp.port = 8888
c.ServerApp.port_retries = 0
c.ServerApp.open_browser = False
c.ServerApp.root_dir = "/home/person"
# The gateway lets only the person in whose instance this is, on an origin of its own.
c.IdentityProvider.token = ""
c.ServerApp.allow_remote_access = True
c.ServerApp.trust_xheaders = True
# Nothing of a run may lie in the home: it follows the person from box to box.
c.FileContentsManager.use_atomic_writing = True
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
