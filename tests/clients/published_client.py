"""What the published client of PyPI does against a server of ours: create, get, list, delete, errors.

It can't decode log events (0.1.3: a TypeError of its own), so logs are left to the other client.
"""

import os
import time

import createos
from createos.models import TemplateCreateRequest


def create(name):
    return box.templates.create(TemplateCreateRequest(name=name, dockerfile=dockerfile))


box = createos.Client(api_key=os.environ["KEY"], base_url=os.environ["SERVER"])
dockerfile = "FROM nodeops/sandbox:debian\nENV A=python\n"
created = create("env")
assert created.status == "pending", created
assert created.built_at is None
for _ in range(600):
    found = box.templates.get(created.id)
    if found.status in ("ready", "failed"):
        break
    time.sleep(0.05)
assert found.status == "ready", found
assert found.ext4_size_bytes == 16777216
assert box.templates.get("env").id == created.id
for _ in range(3):
    create("env")
listed = list(box.templates.list())
assert len(listed) == 4, listed
box.templates.delete(created.id)
for wrong in (lambda: box.templates.get(created.id), lambda: create("Bad")):
    try:
        wrong()
    except Exception as error:  # noqa: BLE001: whichever kind it has for it
        assert type(error).__module__.startswith("createos"), repr(error)
        assert getattr(error, "status_code", None) in (400, 404), vars(error)
    else:
        raise AssertionError("no error")
print("all is as the client expects")
