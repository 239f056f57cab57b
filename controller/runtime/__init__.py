"""When. Supervisor, scan loop, deadlines, pumps between ports and images, guard, window, mailbox and ledger.
Forbidden here: any decision about amps (that is the law's), Textual, and anything of hil.
"""
