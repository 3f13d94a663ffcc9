"""A live board with hidden truth: participants send predictions, the server scores them and says little.

rules.py    what a maintainer can choose, from one file
answers.py  what an answer tells, and how many bits of the truth it can give away
store/      participants, submissions, seasons, phases: SQLite, and uploads beside it; or in a repository of the Hub
judge.py    scores one submission, in a process of its own
board.py    all of these together: who stands where, what was given away, the threads that have submissions scored
phases.py   the ends of dev and final, and what is shown then
archive.py  backup, restore, export
app.py      the ASGI application: pages.py and api.py behind guard.py; asked.py, what they have in common; templates/
connections.py  what the server waits for, and how long
client.py   submits to a board
"""
