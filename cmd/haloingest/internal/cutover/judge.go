package cutover

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
	"haloingest/sinks/diff/report/page"
	"haloingest/sinks/postgres"
)

// Judge makes the checklist. It looks at nothing but the evidence.
func Judge(e Evidence, o Options) Checklist {
	o = o.withDefaults()
	e.Attachments.Wanted = e.Attachments.Wanted || o.AttachmentsWanted
	c := Checklist{
		Version: Version, Program: o.Program, Org: e.Org, Workspace: workspace(e), At: e.At.UTC(),
		MaxSyncAge: short(o.MaxSyncAge), MaxDiffAge: short(o.MaxDiffAge),
		Incomplete: append([]Incomplete{}, e.Incomplete...), Attachments: e.Attachments, Proofs: []Proof{}, Totals: []Total{},
	}
	for _, t := range []struct {
		name  string
		total postgres.Total
	}{{"contacts", e.Status.Contacts}, {"companies", e.Status.Companies}, {"conversations", e.Status.Conversations}, {"tickets", e.Status.Tickets}} {
		if e.Missed[Running] == nil {
			c.Totals = append(c.Totals, Total{t.name, t.total.Live, t.total.Deleted})
		}
	}
	j := judge{Evidence: e, o: o, c: &c}
	judges := map[string]func() Item{
		Connected: j.connected, Backfill: j.backfill, Running: j.running, SyncFresh: j.sync, Webhooks: j.webhooks, Rejects: j.rejects,
		Conversations: j.conversations, Links: j.links, Attachments: j.attachments, Snapshot: j.snapshot, Diff: j.diff,
	}
	for _, t := range titles {
		item := Item{Status: Unknown}
		if err := e.Missed[t.key]; err != nil {
			item.Evidence = "It could not be looked at: " + page.Visible(strings.Join(strings.Fields(err.Error()), " ")) + "."
			item.Advice = "Let the database role read the tables of the schemas ingest and public, then look again:"
			item.Next = []string{j.command("cutover")}
		} else {
			item = judges[t.key]()
		}
		item.Key, item.Title = t.key, t.title
		if item.ProofAt.IsZero() && item.Status != Unknown && item.Key != SyncFresh && item.Key != Diff {
			item.ProofAt = c.At
		}
		if !item.ProofAt.IsZero() {
			item.ProofAt = item.ProofAt.UTC()
			item.Age = max(0, c.At.Sub(item.ProofAt))
		}
		c.Items = append(c.Items, item)
	}
	c.conclude()
	return c
}

// conclude says whether it is safe, and why not.
func (c *Checklist) conclude() {
	failed, unknown := c.count(Fail), c.count(Unknown)
	var why []string
	for _, item := range c.Items {
		if item.Status == Fail || item.Status == Unknown {
			why = append(why, lower(item.Title))
		}
	}
	switch {
	case failed > 0:
		c.ExitCode = 1
	case unknown > 0:
		c.ExitCode = 3
	}
	c.Safe = c.ExitCode == 0
	if !c.Safe {
		c.Sentence = "NOT SAFE to disconnect Intercom. Still to be settled: " + strings.Join(why, "; ") + "."
		return
	}
	c.Sentence = fmt.Sprintf("SAFE to disconnect Intercom. %s of %s hold", page.Count(int64(c.count(Pass))), page.Plural(int64(len(c.Items)), "check"))
	if n := c.count(Warn); n > 0 {
		c.Sentence += fmt.Sprintf("; %s worth knowing before", areThings(int64(n)))
	}
	c.Sentence += "."
}

type judge struct {
	Evidence
	o Options
	c *Checklist
}

// command is a command line, complete but for where the database is.
func (j judge) command(words ...string) string {
	return "haloingest " + strings.Join(append(words, "--org", j.Org.String()), " ")
}

func (j judge) connected() Item {
	conn := j.Connection
	if !conn.Connected {
		return Item{
			Status: Fail, Evidence: "The workspace is disconnected: no access token is stored, so nothing more can be read of it.",
			Advice: "Connect it again until everything is proved:",
			Next:   []string{j.command("connect", "--region", conn.Region, "--token-file", "FILE")},
		}
	}
	hint := ""
	if conn.TokenHint != "" {
		hint = ", with a token that ends in " + page.Visible(conn.TokenHint)
	}
	return Item{Status: Pass, Evidence: fmt.Sprintf("%s, since %s%s.", page.Capital(workspace(j.Evidence)), page.Moment(conn.ConnectedAt), hint)}
}

func (j judge) backfill() Item {
	var missing, other, details []string
	runs := map[record.UUID]bool{}
	item := Item{Status: Pass}
	var began time.Time
	var attempts int64
	for _, kind := range record.Kinds {
		name := kind.Stream()
		w, ok := walk(j.Walks, name, j.Connection)
		if !ok {
			missing = append(missing, name)
			if slices.ContainsFunc(j.Walks, func(w Walk) bool { return w.Stream == name }) {
				other = append(other, name)
			}
			continue
		}
		if !runs[w.Run] {
			attempts += w.Attempts
		}
		runs[w.Run] = true
		details = append(details, fmt.Sprintf("%s: complete, %s", name, page.Moment(w.FinishedAt)))
		// The oldest one is how old the proof is; what has changed since is for the sync.
		if item.ProofAt.IsZero() || w.FinishedAt.Before(item.ProofAt) {
			item.ProofAt = w.FinishedAt
		}
		if began.IsZero() || w.StartedAt.Before(began) {
			began = w.StartedAt
		}
	}
	item.Details = details
	if len(missing) > 0 {
		return j.noBackfill(item, missing, other)
	}
	what := "The backfill that began %s has"
	if len(runs) > 1 {
		what = page.Count(int64(len(runs))) + " backfills, the first of %s, have"
	}
	item.Evidence = fmt.Sprintf(what+" read all four streams to the end, in %s.", page.Moment(began), page.Plural(attempts, "attempt"))
	if u := j.Unfinished; u != nil && u.StartedAt.After(item.ProofAt) {
		item.Evidence += fmt.Sprintf(" A further one, begun %s, %s%s.", page.Moment(u.StartedAt), stands(u.State), because(u.Error))
	}
	return item
}

func (j judge) noBackfill(item Item, missing, other []string) Item {
	item.Status = Fail
	item.Advice, item.Next = "Run it; it goes on where it was stopped:", []string{j.command("backfill")}
	switch {
	case len(missing) < len(record.Kinds):
		item.Evidence = fmt.Sprintf("No backfill has read %s to the end.", list(missing))
	case j.Replay != nil && j.Unfinished == nil && len(other) == 0:
		// What a replay loads is what a backfill read; whether that is all is for the diff to say.
		r := j.Replay
		item.Status, item.ProofAt = Warn, r.FinishedAt
		item.Evidence = fmt.Sprintf("The rows were loaded from a snapshot, by the replay that ended %s; no backfill was made. Whether they are all is what the diff below says.", page.Moment(r.FinishedAt))
		item.Advice = "To read the workspace itself:"
		return item
	default:
		item.ProofAt = time.Time{}
		item.Evidence = "No backfill of everything has come to its end."
	}
	if len(other) > 0 {
		item.Evidence += fmt.Sprintf(" What was read of %s was mapped with other id fields than the connection has now.", list(other))
	}
	if u := j.Unfinished; u != nil {
		item.Evidence += fmt.Sprintf(" The one of %s %s%s.", page.Moment(u.StartedAt), stands(u.State), because(u.Error))
		item.Details = append(item.Details, streams(*u)...)
	}
	return item
}

func streams(r postgres.RunInfo) []string {
	var lines []string
	for _, s := range r.Streams {
		state := "unfinished"
		switch {
		case s.Skipped != "":
			state = "skipped: " + page.Visible(s.Skipped)
		case s.Complete:
			state = "complete"
		}
		lines = append(lines, page.Visible(s.Stream)+": "+state)
	}
	return lines
}

func (j judge) running() Item {
	lease, run := j.Status.Lease, j.Status.Run
	if lease == nil || !lease.Alive {
		if run != nil && run.State != postgres.RunComplete && run.State != postgres.RunAbandoned {
			return Item{
				Status: Warn, Evidence: fmt.Sprintf("No run is under way, but the newest one, a %s of %s, %s%s.", page.Visible(run.Kind), page.Moment(run.StartedAt), stands(run.State), because(run.Error)),
				Advice: "See how far it came; given again, it goes on:", Next: []string{j.command("runs", "show", run.ID.String())},
			}
		}
		return Item{Status: Pass, Evidence: "No run is under way."}
	}
	what := "A run"
	if run != nil && run.State == postgres.RunRunning {
		what = fmt.Sprintf("A %s, begun %s,", page.Visible(run.Kind), page.Moment(run.StartedAt))
	}
	return Item{
		Status: Warn, Evidence: fmt.Sprintf("%s is under way (%s). What is said here may change with it.", what, page.Visible(lease.Holder)),
		Advice: "When it has ended, look again:", Next: []string{j.command("cutover")},
	}
}

func (j judge) sync() Item {
	last := j.Connection.LastSyncedAt
	if last.IsZero() {
		return Item{Status: Fail, Evidence: "Nothing was read to the end yet.", Advice: "Read everything first:", Next: []string{j.command("backfill")}}
	}
	age := max(0, j.At.Sub(last))
	item := Item{
		Status: Pass, ProofAt: last,
		Evidence: fmt.Sprintf("The last complete sync ended %s and has read all that changed before %s.", page.Moment(last), page.Moment(j.Connection.SyncedTo)),
	}
	if age > j.o.MaxSyncAge {
		item.Status = Fail
		item.Evidence += fmt.Sprintf(" That is %s ago; at most %s are allowed.", page.Span(age), short(j.o.MaxSyncAge))
		item.Advice, item.Next = "Read what changed since:", []string{j.command("sync")}
	}
	return item
}

func (j judge) webhooks() Item {
	in := j.Inbox
	switch {
	case in.Open > 0:
		item := Item{
			Status: Fail, Evidence: fmt.Sprintf("%s accepted and not worked off yet, the oldest of %s.", deliveriesAre(in.Open), page.Moment(in.OldestOpen)),
			Advice: "Let the service work them off, then look again:", Next: []string{"haloingest serve --listen 127.0.0.1:8080", j.command("cutover")},
		}
		if in.Failed > 0 {
			item.Details = []string{fmt.Sprintf("%s failed so far, the first because: %s", page.Plural(in.Failed, "delivery"), page.Visible(in.Error))}
		}
		if in.Parked > 0 {
			item.Details = append(item.Details, page.Plural(in.Parked, "delivery")+" failed too often and will not be tried again by itself.")
			item.Advice = "Put right why they fail and open those again that are put aside; while the service runs, it works them off:"
			item.Next = []string{j.command("rejects", "retry"), "haloingest serve --listen 127.0.0.1:8080", j.command("cutover")}
		}
		if in.Nameless > 0 {
			item.Details = append(item.Details, namesNothing(in.Nameless))
		}
		return item
	case in.Nameless > 0:
		return Item{
			Status: Warn, Evidence: fmt.Sprintf("%s Of %s, all others are worked off.", namesNothing(in.Nameless), page.Plural(in.Received, "delivery")),
			Advice: "No service can work these off. What changed is read by the sync all the same:", Next: []string{j.command("sync")},
		}
	case in.Received > 0:
		return Item{Status: Pass, Evidence: fmt.Sprintf("All of %s worked off; the newest arrived %s (%s ago).", page.Plural(in.Received, "delivery"), page.Moment(in.Newest), page.Span(j.At.Sub(in.Newest)))}
	case !j.Connection.HasWebhookSecret:
		return Item{
			Status: Warn, Evidence: "No webhook secret is configured, so no delivery is accepted. The sync reads what changed all the same.",
			Advice: "To have changes at once, connect with the secret of the app that sends them:",
			Next:   []string{j.command("connect", "--region", j.Connection.Region, "--token-file", "FILE", "--webhook-secret-file", "FILE", "--no-backfill")},
		}
	}
	return Item{
		Status: Warn, Evidence: "A webhook secret is configured, but no delivery has arrived yet. The sync reads what changed all the same.",
		Advice: "Check the address of the endpoint and the topics in Intercom's Developer Hub. Until deliveries arrive:", Next: []string{j.command("sync")},
	}
}

// mostLines bounds the details of an item.
const mostLines = 20

func (j judge) rejects() Item {
	if len(j.Rejects) == 0 {
		return Item{Status: Pass, Evidence: "No object is kept as a reject."}
	}
	item := Item{Status: Fail, Advice: "See them, then try them again:", Next: []string{j.command("rejects", "ls"), j.command("rejects", "retry")}}
	var open int64
	for i, r := range j.Rejects {
		open += r.Open
		if i < mostLines {
			what := page.Plural(r.Open, page.Visible(r.Kind))
			if r.Field != "" {
				what += " (" + page.Visible(r.Field) + ")"
			}
			item.Details = append(item.Details, what+": "+page.Visible(r.Reason))
		}
	}
	item.Evidence = fmt.Sprintf("%s could not be loaded, for %s.", page.Plural(open, "object"), page.Plural(int64(len(j.Rejects)), "cause"))
	return item
}

func (j judge) conversations() Item {
	live := j.Status.Conversations.Live
	item := Item{Status: Pass, Evidence: fmt.Sprintf("%s, all of them complete.", page.Plural(live, "conversation"))}
	if j.Cut+j.Unexplained == 0 {
		return item
	}
	item.Evidence = fmt.Sprintf("%s: %s complete, %s cut by Intercom, which gives out no more than %d parts of each", page.Plural(live, "conversation"),
		page.Count(max(0, live-j.Cut-j.Unexplained)), page.Count(j.Cut), maxParts)
	if j.Unexplained == 0 {
		item.Evidence += ". What it has not given out remains in Intercom only."
	} else {
		item.Status = Fail
		item.Evidence += fmt.Sprintf(", and %s incomplete for another reason.", page.Count(j.Unexplained))
		item.Advice, item.Next = "Read everything anew:", []string{j.command("backfill", "--restart")}
	}
	for i, x := range j.Incomplete {
		if i == mostLines {
			item.Details = append(item.Details, fmt.Sprintf("and %s", page.Plural(j.Cut+j.Unexplained-mostLines, "more conversation")))
			break
		}
		line := fmt.Sprintf("conversation %s: %s held", page.Visible(x.SourceID), page.Plural(x.Held, "part"))
		if x.Expected > 0 {
			line += " of " + page.Count(x.Expected)
		}
		item.Details = append(item.Details, line)
	}
	return item
}

func (j judge) links() Item {
	l := j.Links
	switch {
	case l.Broken > 0:
		return Item{
			Status: Fail, Evidence: fmt.Sprintf("%s for an object that is there; %s for one that is not.", linksWait(l.Broken), waits(l.Waiting-l.Broken)),
			Advice: "That must not happen. Read everything anew, which makes them, and tell who maintains this program:", Next: []string{j.command("backfill", "--restart")},
		}
	case l.Waiting > 0:
		return Item{Status: Pass, Evidence: fmt.Sprintf("%s, all of them for objects that Intercom has not given out (deleted contacts, most often).", linksWait(l.Waiting))}
	}
	return Item{Status: Pass, Evidence: "No link waits for its object."}
}

func (j judge) attachments() Item {
	a := j.c.Attachments
	if a.Files == 0 {
		return Item{Status: Pass, Evidence: "No message has an attachment."}
	}
	item := Item{Status: Pass, Evidence: fmt.Sprintf("%s: %s saved (%s)", page.Plural(a.Files, "attachment"), page.Count(a.Saved), page.Size(a.SavedBytes))}
	for _, x := range []struct {
		n    int64
		what string
	}{{a.Failed, "could not be saved"}, {a.Unasked, "never asked for"}, {a.Gone, "gone with their conversation or ticket"}} {
		if x.n > 0 {
			item.Evidence += fmt.Sprintf(", %s %s", page.Count(x.n), x.what)
		}
	}
	item.Evidence += "."
	left := a.Failed + a.Unasked
	if left == 0 {
		return item
	}
	item.Status = Warn
	item.Evidence += fmt.Sprintf(" Their links end with Intercom; what is not saved by then (%s as far as Intercom says) is lost.", page.Size(a.Bytes))
	item.Advice, item.Next = "To save them:", []string{j.command("backfill", "--restart", "--attachments", "DIR")}
	if a.Unasked == 0 { // a sync tries those again that may be had
		item.Next = []string{j.command("sync", "--attachments", "DIR")}
	}
	for _, c := range a.Causes {
		item.Details = append(item.Details, fmt.Sprintf("%s: %s", page.Plural(c.Files, "file"), page.Visible(c.Error)))
	}
	switch {
	case a.Wanted && left > j.o.AcceptUnsaved:
		item.Status = Fail
		item.Advice = "They are wanted. Save what is left; where that is not possible, see attachments.csv of --report and accept so many with --accept-unsaved:"
	case a.Wanted:
		item.Evidence += fmt.Sprintf(" So many were accepted as missing: --accept-unsaved %d.", j.o.AcceptUnsaved)
	}
	return item
}

func (j judge) snapshot() Item {
	next := []string{j.command("backfill", "--restart", "--snapshot", "DIR")}
	if len(j.Snapshots) == 0 {
		return Item{
			Status: Warn, Evidence: "No snapshot was kept: what Intercom sent can be looked up nowhere once it is disconnected.",
			Advice: "To keep one:", Next: next,
		}
	}
	best := j.Snapshots[0]
	for _, k := range j.Snapshots {
		if k.whole() && !best.whole() || k.Walked && !best.Walked {
			best = k
		}
	}
	item := Item{Status: Pass, ProofAt: best.NewestAt}
	item.Evidence = fmt.Sprintf("%s holds %s of %s, %s", page.Visible(best.Location), page.Plural(best.Files, "file"), page.Plural(best.Runs, "run"), page.Size(best.Bytes))
	switch {
	case !best.Walked:
		item.Status, item.Advice, item.Next = Warn, "To keep all:", next
		item.Evidence += ", but no backfill of everything is in it."
	case !best.Left.Run.IsZero():
		item.Status, item.Advice, item.Next = Warn, "To keep all:", next
		item.Evidence += fmt.Sprintf(", a backfill of everything among them. What the %s of %s wrote is not in it.", page.Visible(best.Left.Kind), page.Moment(best.Left.At))
	default:
		item.Evidence += ": a backfill of everything, and all that was written since."
	}
	for _, k := range j.Snapshots {
		item.Details = append(item.Details, fmt.Sprintf("%s: %s, %s, newest of %s", page.Visible(k.Location), page.Plural(k.Runs, "run"), page.Size(k.Bytes), page.Moment(k.NewestAt)))
	}
	if len(item.Details) == 1 {
		item.Details = nil
	}
	return item
}

// whole reports whether the snapshot has everything that is in the tables.
func (k Kept) whole() bool { return k.Walked && k.Left.Run.IsZero() }

// diff judges the newest diff of everything with the workspace itself.
func (j judge) diff() Item {
	item := Item{Status: Fail, Advice: "Compare everything:", Next: []string{j.command("diff", "intercom", "postgres")}}
	for _, d := range j.Diffs {
		if candidate(d) {
			return j.proof(d, item)
		}
	}
	item.Evidence = "No diff of everything between Intercom and the database was made, at level full and to its end."
	if len(j.Diffs) > 0 {
		d := j.Diffs[0]
		item.Evidence += fmt.Sprintf(" The newest diff, of %s, compares %s with %s at level %s", page.Moment(d.StartedAt), page.Visible(d.Left), page.Visible(d.Right), page.Visible(d.Level))
		if len(d.Only) > 0 {
			item.Evidence += ", " + page.Visible(strings.Join(d.Only, ", ")) + " only"
		}
		if d.Verdict == string(diff.VerdictPartial) {
			item.Evidence += ", and was interrupted"
		}
		item.Evidence += "."
		if strings.HasPrefix(d.Left, "snapshot:") {
			item.Evidence += " A snapshot holds what was read: that the tables have it does not say that everything was read."
		}
	}
	return item
}

// proof judges one diff.
func (j judge) proof(d postgres.DiffRun, item Item) Item {
	if p, ok := j.Proofs[d.ID]; ok {
		j.c.Proofs = append(j.c.Proofs, p)
	}
	item.ProofAt = d.FinishedAt
	item.Evidence = fmt.Sprintf("%s and %s, compared from %s to %s: %s", page.Capital(page.Visible(d.Left)), page.Visible(d.Right), page.Moment(d.StartedAt), page.Moment(d.FinishedAt), page.Visible(d.Sentence))
	if !strings.HasSuffix(item.Evidence, ".") {
		item.Evidence += "."
	}
	left := notCompared(d)
	age := max(0, j.At.Sub(d.FinishedAt))
	switch {
	case d.Verdict != string(diff.VerdictEqual):
		item.Advice, item.Next = "See what differs, mend it, and compare again:", []string{
			j.command("sync", "--from-diff", d.ID.String()), j.command("diff", "intercom", "postgres")}
		if d.Verdict == string(diff.VerdictUnverified) {
			item.Advice, item.Next = "Compare again:", item.Next[1:]
		}
	case len(left) > 0:
		item.Evidence += fmt.Sprintf(" It has not compared %s.", list(left))
		item.Advice = "Give the token the missing permission, and compare everything:"
	case j.Wrote != nil && !d.StartedAt.After(j.Wrote.At):
		item.Evidence += fmt.Sprintf(" Since it began, the %s %s has written, last %s.", page.Visible(j.Wrote.Kind), j.Wrote.Run, page.Moment(j.Wrote.At))
		item.Advice = "Compare again:"
	case age > j.o.MaxDiffAge:
		item.Evidence += fmt.Sprintf(" That is %s ago; at most %s are allowed.", page.Span(age), short(j.o.MaxDiffAge))
		item.Advice = "Compare again:"
	default:
		item.Status, item.Advice, item.Next = Pass, "", nil
	}
	return item
}

// short writes 2h0m0s as 2h.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
