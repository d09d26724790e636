package main

import (
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/sinks/postgres"
)

// statusResult is the JSON of `status`.
type statusResult struct {
	Connection connection.Connection `json:"connection"`
	postgres.Status
}

func (a *app) status() *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "show what is connected, what has landed, and what is under way",
		Flags: concat([]cli.Flag{orgFlag()}, storeFlags(), outputFlags()),
		Action: func(c *cli.Context) error {
			ws, err := a.open(c)
			if err != nil {
				return err
			}
			defer ws.close()
			conn, err := ws.connections.Get(c.Context, ws.org)
			if err != nil {
				return err
			}
			s, err := ws.Status(c.Context, ws.org)
			if err != nil {
				return err
			}
			return a.result(statusResult{conn, s}, func(w io.Writer) { printStatus(w, conn, s) })
		},
	}
}

func printStatus(w io.Writer, conn connection.Connection, s postgres.Status) {
	fmt.Fprintf(w, "Organisation %s\n", conn.Org)
	token := "stored, ends in " + conn.TokenHint
	if !conn.Connected {
		token = "none: disconnected"
	} else if conn.TokenHint == "" {
		token = "stored"
	}
	if conn.TokenFingerprint != "" {
		token += ", SHA-256 " + conn.TokenFingerprint + "…"
	}
	fields(w,
		"connected to", workspaceName(conn),
		"token", token,
		"webhook secret", map[bool]string{true: "configured", false: "not configured"}[conn.HasWebhookSecret],
		"user_id_field", conn.UserIDField,
		"company_id_field", conn.CompanyIDField,
		"activity_refresh", shortDuration(conn.ActivityRefresh),
		"last complete sync", moment(s.LastSyncedAt, "none yet"),
	)
	fmt.Fprintln(w)
	row := func(name string, t postgres.Total) []string { return []string{name, count(t.Live), count(t.Deleted)} }
	table(w, []string{"synced", "live", "deleted at the source"}, [][]string{
		row("contacts", s.Contacts),
		row("companies", s.Companies),
		row("conversations", s.Conversations),
		row("tickets", s.Tickets),
	})
	fmt.Fprintln(w)
	fields(w,
		"rejects", count(s.OpenRejects),
		"conversations cut by Intercom", count(s.IncompleteConversations),
		"links waiting for their object", count(s.PendingLinks),
	)
	if s.Run != nil {
		fmt.Fprintf(w, "\nNewest run: %s\n", runLine(*s.Run))
	}
}

// runLine is a run in one line.
func runLine(r postgres.RunInfo) string {
	text := fmt.Sprintf("%s %s, %s, started %s", r.Kind, r.ID, runState(r), moment(r.StartedAt, ""))
	if !r.FinishedAt.IsZero() {
		text += ", took " + span(r.FinishedAt.Sub(r.StartedAt))
	}
	if r.Attempts > 1 {
		text += fmt.Sprintf(", %d attempts", r.Attempts)
	}
	if r.Error != "" {
		text += ": " + r.Error
	}
	return text
}

func runState(r postgres.RunInfo) string {
	if r.UndoneAt.IsZero() {
		return string(r.State)
	}
	return string(r.State) + ", undone"
}

// shortDuration writes 6h0m0s as 6h.
func shortDuration(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if n := len(s) - len(zero) + 1; n > 0 && s[n-1:] == zero {
			s = s[:n]
		}
	}
	return s
}
