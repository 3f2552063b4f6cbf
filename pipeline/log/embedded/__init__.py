"""The log in a folder: durable, ordered, one process, no server.

    lock                               held by the process that has the folder open; its number inside
    snapshot                           what the folder holds, replaced as a whole
    journal-0000000042                 changes since the snapshot; the one file an append waits for
    topics/<topic>-<partition>/        segment files, named by their first offset

An append is durable when its group is in the journal (`writer`). The `keeper` moves journals into
segments, then writes a snapshot, then removes the journals: at every instant the snapshot and the
journals after it are the truth, and files they do not name are nothing. `recovery` starts from there.
"""
