package cutover

import (
	"fmt"
	"strings"

	"haloingest/sinks/diff/report/page"
	"haloingest/sinks/postgres"
)

func workspace(e Evidence) string {
	w := e.Connection.Workspace
	if w.ID == "" && w.Name == "" {
		return fmt.Sprintf("a workspace that Intercom does not name (region %s)", page.Visible(e.Connection.Region))
	}
	return fmt.Sprintf("workspace “%s” (%s, region %s)", page.Visible(w.Name), page.Visible(w.ID), page.Visible(e.Connection.Region))
}

// stands says how a run stands.
func stands(s postgres.RunState) string {
	switch s {
	case postgres.RunFailed:
		return "failed"
	case postgres.RunInterrupted:
		return "was interrupted"
	}
	return "is " + string(s)
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return " (" + page.Visible(strings.Join(strings.Fields(why), " ")) + ")"
}

// list writes "a, b and c".
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

func deliveriesAre(n int64) string {
	if n == 1 {
		return "1 delivery is"
	}
	return page.Count(n) + " deliveries are"
}

func namesNothing(n int64) string {
	if n == 1 {
		return "1 delivery names nothing that can be read and is put aside."
	}
	return page.Count(n) + " deliveries name nothing that can be read and are put aside."
}

func linksWait(n int64) string {
	if n == 1 {
		return "1 link waits"
	}
	return page.Count(n) + " links wait"
}

func waits(n int64) string {
	if n == 1 {
		return "1 waits"
	}
	return page.Count(n) + " wait"
}

func areThings(n int64) string {
	if n == 1 {
		return "1 thing is"
	}
	return page.Count(n) + " things are"
}

// lower begins a text with a small letter.
func lower(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
