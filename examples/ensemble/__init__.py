"""A street's forecast by 24 members that do not know their wind and source."""
