"""Puts headnode's files on a machine and takes them away: `files` what there is, `plan` what to do (pure), `apply` do it."""
