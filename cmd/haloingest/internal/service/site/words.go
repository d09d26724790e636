package site

import (
	"fmt"
	"math"
	"strings"
	"time"

	"haloingest/pipeline/record"
	"haloingest/sinks/diff/report/page"
	"haloingest/sinks/postgres"
)

// when is an instant as it is shown: how long ago, with the exact time beside it for who asks.
type when struct {
	ISO, Full, Ago string
}

// Short names of what people know by long ones.
const (
	minutesFrom = 45 * time.Second
	hoursFrom   = 90 * time.Minute
	daysFrom    = 36 * time.Hour
)

func since(at, now time.Time) when {
	if at.IsZero() {
		return when{}
	}
	return when{at.UTC().Format(time.RFC3339), page.Moment(at), ago(now.Sub(at))}
}

// ago is written as live.js writes it.
func ago(d time.Duration) string {
	switch {
	case d < minutesFrom:
		return "just now"
	case d < hoursFrom:
		return fmt.Sprintf("%d min ago", max(1, int(math.Round(d.Minutes()))))
	case d < daysFrom:
		return fmt.Sprintf("%d h ago", int(math.Round(d.Hours())))
	}
	return fmt.Sprintf("%d days ago", int(math.Round(d.Hours()/24)))
}

// clock is an instant as a table shows it.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

// span is a length of time as it is set: 6h, 90m.
func span(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if n := len(s) - len(zero) + 1; n > 0 && strings.HasSuffix(s, zero) {
			s = s[:n]
		}
	}
	return s
}

// list writes "a, b and c".
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// reason makes one line of an error that people read, and ends it like a sentence.
func reason(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return page.Visible(s)
}

// workspaceName is how the page calls an organisation's workspace.
func workspaceName(w record.Workspace) string {
	switch {
	case strings.TrimSpace(w.Name) != "":
		return page.Short(w.Name, 80)
	case w.ID != "":
		return page.Short(w.ID, 80)
	}
	return "An Intercom workspace"
}

// runWords are what people call kinds of runs.
func runWords(r postgres.RunInfo) string {
	switch r.Kind {
	case "backfill":
		switch {
		case len(r.Spec.Only) > 0:
			return "Backfill of " + list(r.Spec.Only)
		case r.Spec.Sample > 0:
			return "Backfill of a sample"
		}
		return "Backfill"
	case "sync":
		return "Sync"
	case "refresh":
		return "Refresh of open conversations"
	case "retry":
		return "Retry of rejects"
	case "replay":
		return "Replay of a snapshot"
	case "repair":
		return "Repair of what a diff found"
	case "webhook":
		return "Webhooks"
	}
	return page.Capital(page.Short(r.Kind, 40))
}

// streamWords are what people call streams.
func streamWords(name string) string { return page.Capital(page.Short(name, 40)) }

// rate writes objects per second.
func rate(n float64) string {
	switch {
	case n >= 10:
		return page.Count(int64(n+0.5)) + "/s"
	case n > 0:
		return fmt.Sprintf("%.1f/s", n)
	}
	return ""
}

// left is how long something takes yet, as a guess is told.
func left(d time.Duration) string {
	switch {
	case d <= 0:
		return ""
	case d < time.Minute:
		return "less than a minute left"
	case d < 2*time.Hour:
		return fmt.Sprintf("about %d min left", int(math.Ceil(d.Minutes())))
	case d < 48*time.Hour:
		return fmt.Sprintf("about %d h left", int(math.Ceil(d.Hours())))
	}
	return fmt.Sprintf("about %d days left", int(math.Ceil(d.Hours()/24)))
}
