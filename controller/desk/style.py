"""Hold the desk's style sheet: dark, few colours, each with one meaning (good, warn, bad)."""

CSS = """
Screen { background: #10161d; color: #d8dee9; layers: base; }
#header { height: 1; background: #1d2a38; }
#stale { height: 3; content-align: center middle; background: #b00020; color: #ffffff; text-style: bold; }
#screens { height: 1fr; }
Table { height: 1fr; background: #10161d; scrollbar-size: 1 1; }
#chain { height: auto; max-height: 4; padding: 0 1; background: #17202a; color: #9fb3c8; }
#figures { height: auto; padding: 1 1; }
#entry { height: 3; }
#hint { height: 1; background: #1d2a38; color: #9fb3c8; }
Help, Confirm { align: center middle; }
.dialog { width: auto; max-width: 96; height: auto; padding: 1 2; background: #1d2a38; border: round #9fb3c8; }
.dialog Static { width: auto; }
.dialog Horizontal { height: auto; width: auto; margin-top: 1; }
.dialog Button { margin-right: 2; }
.title { text-style: bold; margin-bottom: 1; }
"""
