"""What a support engineer would check: `judges` say of values whether they are right, `looks` fetch them. Only the command line
loads this.
"""
