package site

import (
	"fmt"
	"strings"
	"time"

	"haloingest/cmd/haloingest/internal/service/work"
	"haloingest/pipeline/record"
	"haloingest/sinks/diff/report/page"
	"haloingest/sinks/postgres"
)

// Keys of standings, which tests and golden files name them by.
const (
	stNotConnected = "not-connected"
	stDisconnected = "disconnected"
	stRunning      = "running"
	stWaiting      = "waiting"
	stStuck        = "stuck" // nobody takes up what waits
	stRetrying     = "retrying"
	stFailed       = "failed"
	stInterrupted  = "interrupted"
	stUnread       = "unread" // connected, and nothing was read or is to be
	stOff          = "off"
	stPartial      = "partial" // a stream was skipped
	stRefields     = "fields"  // rows were made by other fields than the present ones
	stLate         = "late"
	stInStep       = "in-step"
)

// standing says how an organisation stands, what follows from it, and what one can do.
type standing struct {
	Key        string
	Tone       string // good, bad, open, busy, off
	Head, Text string
	Why        string // what was said by Intercom, the database or the program: for people, from outside
	Do         string // what to do about it
	// What is offered to who may.
	Sync, GoOn, TryNow, Restart, TurnOn, Connect bool
}

const (
	stuckAfter = 90 * time.Second // a worker takes up a job within seconds
	soon       = 10 * time.Second // what is due within it is about to begin
)

// busyWords say what goes on, by kind of job or run.
var busyWords = map[string][2]string{
	"backfill": {"Reading the history", "Everything that Intercom has is read once, oldest first. You can leave this page: it goes on by itself."},
	"replay":   {"Loading a snapshot", "A snapshot is loaded into Halo, without Intercom."},
	"sync":     {"Reading what changed", "The regular sync reads what changed since the last one."},
	"refresh":  {"Reading open conversations again", "Conversations that are open or were active of late are read again."},
	"retry":    {"Trying rejected objects again", "They are read from Intercom anew and loaded if they are good now."},
	"repair":   {"Mending what a diff found", "What a diff found missing or different is read again."},
}

// judge says how it stands. It looks at nothing but the facts.
func judge(f facts) standing {
	switch {
	case !f.Known:
		return standing{Key: stNotConnected, Tone: "off", Head: "Not connected yet", Connect: true,
			Text: "Connect an Intercom workspace with an access token. Its whole history is read then, and kept in step."}
	case !f.Conn.Connected:
		return disconnected(f)
	}
	if s, ok := running(f); ok {
		return s
	}
	if s, ok := queued(f); ok {
		return s
	}
	if !f.Conn.IngestEnabled {
		return standing{Key: stOff, Tone: "off", Head: "Ingest is off", TurnOn: true,
			Text: "Neither the regular sync nor webhooks change anything; deliveries are answered and not kept. Rows stay as they are. When it is on again, the next sync reads what changed meanwhile."}
	}
	if f.Status.LastSyncedAt.IsZero() {
		return unread(f)
	}
	return synced(f)
}

func disconnected(f facts) standing {
	s := standing{Key: stDisconnected, Tone: "off", Head: "Disconnected", Connect: true,
		Text: "The token and the webhook secret are deleted; sync and webhooks have stopped. All rows stay."}
	if n := rowsHeld(f.Status); n > 0 {
		s.Text += " " + page.Count(n) + " objects from Intercom are in Halo."
	}
	s.Text += " Connecting again doubles nothing."
	return s
}

func rowsHeld(s postgres.Status) int64 {
	return s.Contacts.Live + s.Companies.Live + s.Conversations.Live + s.Tickets.Live
}

// running is the standing while a run holds the workspace.
func running(f facts) (standing, bool) {
	kind := ""
	if r := f.Last; r != nil && r.State == postgres.RunRunning {
		kind = r.Kind
	}
	for _, j := range f.Jobs {
		if j.State == work.JobRunning && j.Kind != work.KindDrain && kind == "" {
			kind = j.Kind
		}
	}
	words, ok := busyWords[kind]
	if kind == "" {
		return standing{}, false
	}
	if !ok {
		words = [2]string{"At work", "A run of this organisation is under way."}
	}
	s := standing{Key: stRunning, Tone: "busy", Head: words[0], Text: words[1]}
	if kind == "backfill" && !f.Status.LastSyncedAt.IsZero() {
		s.Head = "Reading everything again"
		s.Text = "Rows that are the same stay as they are. Webhooks go on meanwhile."
	}
	if !f.Conn.IngestEnabled {
		s.Text = "Ingest was turned off: it stops after what was read is stored."
	}
	return s, true
}

// queued is the standing while a job waits whose turn has not come, or has failed.
func queued(f facts) (standing, bool) {
	for _, j := range f.Jobs {
		long := j.Kind == work.KindBackfill || j.Kind == work.KindReplay
		if j.Kind == work.KindDrain || !long && j.State == work.JobWaiting && f.At.Sub(j.Since) < stuckAfter {
			continue // a sync that is due in a moment
		}
		words := busyWords[j.Kind]
		name := strings.ToLower(words[0])
		switch j.State {
		case work.JobWaiting:
			if waited := f.At.Sub(latest(j.Since, j.Due)); waited > stuckAfter {
				s := standing{Key: stStuck, Tone: "open", Head: "Nobody has begun " + name, Why: j.Error,
					Text: fmt.Sprintf("It has waited for %s. It is kept, and begins as soon as a worker is free.", page.Span(waited)),
					Do:   "See whether a process of haloingest serve runs and can reach this database, and whether other organisations keep its workers busy."}
				return s, true
			}
			if wait := j.Due.Sub(f.At); wait > soon {
				return standing{Key: stWaiting, Tone: "busy", Head: "Waiting to begin " + name, Why: j.Error,
					Text: fmt.Sprintf("It is queued, and is taken up in %s, at %s at the earliest.", page.Span(wait), page.Moment(j.Due))}, true
			}
			return standing{Key: stWaiting, Tone: "busy", Head: "About to begin " + name, Why: j.Error,
				Text: "It is queued, and a worker takes it up within seconds."}, true
		case work.JobRetrying:
			s := standing{Key: stRetrying, Tone: "open", Head: page.Capital(name) + " was interrupted", Why: j.Error, TryNow: true,
				Text: "Nothing is lost: what was read is stored, and it goes on from there by itself."}
			if wait := j.Due.Sub(f.At); wait > 0 {
				s.Text = fmt.Sprintf("Nothing is lost: what was read is stored. It goes on from there by itself in %s.", page.Span(wait))
			}
			return s, true
		case work.JobPaused:
			if !f.Conn.IngestEnabled {
				continue // said as such
			}
			return standing{Key: stFailed, Tone: "bad", Head: page.Capital(name) + " is paused", Why: j.Error, Connect: true,
				Text: "What was read is stored; it goes on from there.", Do: advice(j.Cause, j.Error)}, true
		case work.JobFailed:
			if f.Last != nil && f.Last.Kind == j.Kind && f.Last.State == postgres.RunComplete && f.Last.FinishedAt.After(j.Since) {
				continue
			}
			return standing{Key: stFailed, Tone: "bad", Head: page.Capital(name) + " failed", Why: j.Error, GoOn: long, Sync: !long, Connect: tokenAtFault(j.Cause, j.Error),
				Text: "What was read before is stored; it goes on from there.", Do: advice(j.Cause, j.Error)}, true
		}
	}
	return standing{}, false
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// unread is the standing before everything was read once.
func unread(f facts) standing {
	r := f.Last
	switch {
	case r != nil && r.Kind == "backfill" && r.State == postgres.RunFailed:
		return standing{Key: stFailed, Tone: "bad", Head: "Reading the history failed", Why: r.Error, GoOn: true, Connect: tokenAtFault("", r.Error),
			Text: "What was read before is stored; it goes on from there.", Do: advice("", r.Error)}
	case r != nil && r.Kind == "backfill" && r.State == postgres.RunInterrupted:
		return standing{Key: stInterrupted, Tone: "open", Head: "Reading the history was interrupted", Why: r.Error, GoOn: true,
			Text: "What was read is stored, and it goes on from there as soon as somebody says so."}
	}
	return standing{Key: stUnread, Tone: "open", Head: "Connected, and nothing was read yet", GoOn: true,
		Text: "The regular sync begins after the history was read once."}
}

// synced is the standing once everything was read and nothing is under way.
func synced(f facts) standing {
	if r := f.Last; r != nil && f.At.Sub(f.Status.LastSyncedAt) > 0 && r.FinishedAt.After(f.Status.LastSyncedAt) {
		switch {
		case r.State == postgres.RunFailed && (r.Kind == "sync" || r.Kind == "backfill"):
			if skipped := skippedStreams(*r); len(skipped) > 0 {
				return standing{Key: stPartial, Tone: "bad", Head: page.Capital(list(skipped)) + " could not be read", Why: skippedWhy(*r), Sync: true, Connect: true,
					Text: "Everything else is in step.", Do: "Give the app of this token that permission in Intercom's Developer Hub. The next sync reads what is missing."}
			}
			return standing{Key: stFailed, Tone: "bad", Head: "The last " + r.Kind + " failed", Why: r.Error, Sync: true, Connect: tokenAtFault("", r.Error),
				Text: "Halo is in step up to the last complete sync. The next one reads everything since.", Do: advice("", r.Error)}
		}
	}
	if f.Conn.FullReadDue {
		return standing{Key: stRefields, Tone: "open", Head: "The field choices were changed", Restart: true,
			Text: "Rows that are there were made with the fields before. Everything has to be read once more to give all of them the present ones; that is queued by itself before long."}
	}
	if late := f.At.Sub(f.Status.LastSyncedAt); late > 2*f.SyncEvery+stuckAfter {
		return standing{Key: stLate, Tone: "open", Head: "The regular sync is late", Sync: true,
			Text: fmt.Sprintf("The last complete one ended %s.", ago(late)),
			Do:   "See whether a process of haloingest serve runs and can reach this database and Intercom."}
	}
	s := standing{Key: stInStep, Tone: "good", Head: "Everything is in step", Sync: true, Text: "Changes arrive with the regular sync."}
	if f.Conn.HasWebhookSecret {
		s.Text = "Changes arrive within seconds by webhook, and the regular sync catches what no webhook tells."
	}
	return s
}

func skippedStreams(r postgres.RunInfo) []string {
	var names []string
	for _, s := range inOrder(r.Streams) {
		if s.Skipped != "" && len(names) < len(record.Kinds) {
			names = append(names, page.Short(s.Stream, 40))
		}
	}
	return names
}

func skippedWhy(r postgres.RunInfo) string {
	for _, s := range r.Streams {
		if s.Skipped != "" {
			return s.Skipped
		}
	}
	return ""
}

// tokenAtFault reports whether an error means that another token is needed. Of a run, such as one of a command, only the words are kept.
func tokenAtFault(cause work.Cause, err string) bool {
	if cause != "" {
		return cause == work.CauseToken || cause == work.CausePermission
	}
	for _, word := range []string{"token", "unauthorized", "401", "403 "} {
		if strings.Contains(err, word) {
			return true
		}
	}
	return false
}

// advice says what to do about an error.
func advice(cause work.Cause, err string) string {
	switch cause {
	case work.CauseIntercom:
		return "Intercom did not answer as it should. Go on when it does again; Intercom's status page tells of outages."
	case work.CauseDatabase:
		return "See whether the database can be reached and has room. The service's log has the whole of it under this organisation's id."
	case work.CauseMasterKey:
		return "The service has not the master key with which this organisation's token was sealed. Start it with the right one."
	case work.CausePermission:
		return "Give the app of this token that permission in Intercom's Developer Hub, or connect again with a token that has it; nothing is read twice."
	}
	switch {
	case tokenAtFault(cause, err):
		return "Intercom does not take the token any more, or not for this. Make a new one in Intercom's Developer Hub and connect again; nothing is read twice."
	case strings.Contains(err, "rejects") || strings.Contains(err, "too many"):
		return "So many objects could not be loaded that something in common is wrong with them. Look at the rejects before it goes on."
	case err != "":
		return "If it stays, the service's log has the whole of it under this organisation's id."
	}
	return ""
}

// kindsOf are the streams of a workspace, in order, with what Halo holds of each.
func totals(s postgres.Status) []total {
	return []total{
		{"Contacts", s.Contacts.Live, s.Contacts.Deleted}, {"Companies", s.Companies.Live, s.Companies.Deleted},
		{"Conversations", s.Conversations.Live, s.Conversations.Deleted}, {"Tickets", s.Tickets.Live, s.Tickets.Deleted},
	}
}

// total is what Halo holds of one kind.
type total struct {
	Name          string
	Live, Deleted int64
}

// Lower is the name within a sentence.
func (t total) Lower() string { return strings.ToLower(t.Name) }

// kindNames are the kinds as people call many of them.
func kindNames(kinds []record.Kind) []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.Stream()
	}
	return names
}
