"""Which instance of a model gets a call, and which instances are fit to get one.

The one decision here: a balancer sees live facts and a list of instances that may be asked; who is
on that list is decided apart from it, by health. So no balancer can choose an instance that is out.
"""
