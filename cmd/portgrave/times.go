package main

import "time"

// Times for people are in the host's zone, and say which it is.

// moment is a time to the second: "2026-12-01 07:40:12 UTC".
func moment(t time.Time) string { return t.Local().Format(time.DateTime + " MST") }

// clockTime is a time of today: "07:40:12 UTC".
func clockTime(t time.Time) string { return t.Local().Format(time.TimeOnly + " MST") }
