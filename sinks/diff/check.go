package diff

import (
	"context"
	"strings"
	"time"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// suspect is an object that the join did not find equal.
type suspect struct {
	id    string
	key   digest
	first [2]half // as the sides were read
	seen  [2]half // at the last look
	looks int
	asked bool // the left, at the last look
	force bool // the left is to be asked, whatever else
}

// checker looks at suspects in full and settles what they are. It serves one entity. Not safe for concurrent use.
type checker struct {
	*run
	entity string
	asof   int64 // when the left was read last, as its objects say; 0 if unknown
	result *tallied
	batch  []*suspect
	again  []*suspect // to be looked at once more
	asked  int        // how many missing objects the left was asked for
}

// suspect takes up an object of which fingerprints differ.
func (c *checker) suspect(ctx context.Context, e *entry, id string) error {
	c.batch = append(c.batch, &suspect{id: id, key: e.key, first: e.side, seen: e.side})
	if len(c.batch) < FetchBatch {
		return nil
	}
	return c.flush(ctx)
}

// flush looks at what is waiting for its first look.
func (c *checker) flush(ctx context.Context) error {
	batch := c.batch
	c.batch = c.batch[:0]
	return c.look(ctx, batch)
}

// settle looks again, with growing pauses, at what may have been on the move, until all is settled.
func (c *checker) settle(ctx context.Context) error {
	if err := c.flush(ctx); err != nil {
		return err
	}
	for pause := c.o.Pause; len(c.again) > 0; pause *= 2 {
		if err := c.o.Sleep(ctx, pause); err != nil {
			return err
		}
		list := c.again
		c.again = nil
		for len(list) > 0 {
			n := min(len(list), FetchBatch)
			if err := c.look(ctx, list[:n]); err != nil {
				return err
			}
			list = list[n:]
		}
	}
	return nil
}

// look fetches the suspects, at most FetchBatch, from both sides and judges them.
func (c *checker) look(ctx context.Context, batch []*suspect) error {
	if len(batch) == 0 {
		return nil
	}
	var ids [2][]string
	for _, s := range batch {
		s.looks++
		s.asked = c.asksLeft(s)
		if s.asked {
			ids[left] = append(ids[left], s.id)
		}
		ids[right] = append(ids[right], s.id)
	}
	var found [2]map[string]*Object
	err := pipeline.ForEach(ctx, 2, 2, func(ctx context.Context, i int) error {
		found[i] = make(map[string]*Object, len(ids[i]))
		if len(ids[i]) == 0 {
			return nil
		}
		list, err := c.sides[i].Fetch(ctx, c.entity, ids[i])
		for j := range list {
			found[i][list[j].SourceID] = &list[j]
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, s := range batch {
		if err := c.judge(ctx, s, found[left][s.id], found[right][s.id]); err != nil {
			return err
		}
	}
	return nil
}

// asksLeft reports whether the left side is to be asked for the object. What is missing on the right is not asked for where the left
// cannot have changed: there may be millions. What is extra is asked for at the first and the last look only: each question to Intercom is a request.
func (c *checker) asksLeft(s *suspect) bool {
	l, r := &s.first[left], &s.first[right]
	switch {
	case s.force:
		return true
	case l.live() && l.state == record.FingerprintRejected:
		return false // it cannot be mapped, now or later
	case l.live() && r.live():
		return true
	case !c.sides[left].Moves():
		return false
	case r.live():
		return s.looks == 1 || s.looks >= c.o.Rounds
	}
	// It may be gone from the left, too, by now. That is asked of so many objects only as may be looked at again.
	if s.looks == 1 && !c.recent(l.updated) {
		c.asked++
		return c.asked <= c.o.RecheckLimit
	}
	return true
}

// recent reports whether a change at that time may be on its way still.
func (c *checker) recent(updated int64) bool {
	return updated >= c.watermark.Add(-c.o.Grace).UnixMicro()
}

// now is what a look has found of an object.
func (c *checker) now(o *Object) half {
	if o == nil {
		return half{}
	}
	f := o.Fingerprint
	switch {
	case o.Rows != nil || o.Change.Kind == "":
	case c.entity == "knowledge":
		f, _ = o.Change.KnowledgeFingerprint()
		if o.State.Live() {
			f.State = o.State
		}
	default:
		f = o.Change.Fingerprint()
	}
	if f.State == record.FingerprintLive {
		f.State = o.State
	}
	if f.UpdatedAt == 0 && !o.Version.UpdatedAt.IsZero() {
		f.UpdatedAt = o.Version.UpdatedAt.UnixMicro()
		if !o.Version.FetchedAt.IsZero() {
			f.FetchedAt = o.Version.FetchedAt.UnixMicro()
		}
	}
	return half{hash: f.Hash, updated: f.UpdatedAt, fetched: f.FetchedAt, count: f.Count, state: f.State, here: true}
}

// moved reports whether an object has changed between two looks at a side. That the live workspace was read at another time is no change.
func (c *checker) moved(side int, a, b half) bool {
	if a.live() != b.live() {
		return true
	}
	if !a.live() {
		return false
	}
	// At level fast the first hash is the stored one, and the second one computed.
	hashed := c.o.Level == LevelFull && a.hash != (record.Digest{}) && b.hash != (record.Digest{})
	// The parts of knowledge come without a version.
	dated := a.updated != 0 && b.updated != 0
	return dated && (a.updated != b.updated || side == right && a.fetched != b.fetched) || hashed && (a.hash != b.hash || a.count != b.count)
}

// judgement is what a suspect is found to be.
type judgement struct {
	class     Class // "" for equal
	cause     string
	reason    string // of a reject or an exclusion
	converged bool
}

func (c *checker) judge(ctx context.Context, s *suspect, lo, ro *Object) error {
	was := s.seen
	s.seen[right] = c.now(ro)
	if s.asked {
		s.seen[left] = c.now(lo)
	}
	moved := c.moved(left, was[left], s.seen[left]) || c.moved(right, was[right], s.seen[right])
	var faults []fault
	var rules map[string]bool
	if s.seen[left].live() && s.seen[right].live() && lo != nil && ro != nil {
		faults, rules = c.compare(lo, ro)
	}
	j, final := c.classify(s, lo, ro, moved, len(faults) > 0)
	if !final {
		switch {
		case s.looks >= c.o.Rounds:
			j, _ = c.exhausted(s, j, moved)
		case len(c.again) < c.o.RecheckLimit:
			c.again = append(c.again, s)
			return nil
		case moved || j.class != Extra:
			j = judgement{class: Unresolved, cause: "too many objects were on the move to look at all of them again"}
		}
	}
	return c.close(ctx, s, lo, ro, j, faults, rules)
}

// classify says what a suspect is, and whether that is final or may be on the move.
func (c *checker) classify(s *suspect, lo, ro *Object, moved, differs bool) (judgement, bool) {
	l, r := &s.seen[left], &s.seen[right]
	static := !c.sides[left].Moves()
	shifted := s.first[left].live() != l.live() || s.first[right].live() != r.live()
	changing := c.moves && (moved || shifted && s.looks < c.o.Rounds)
	switch {
	case unread(l, lo) != "" && !kept(ro):
		return judgement{class: Unresolved, cause: unread(l, lo)}, true
	case unread(r, ro) != "" && !kept(lo):
		return judgement{class: Unresolved, cause: unread(r, ro)}, true
	case !l.live() && !r.live():
		return judgement{class: InFlight, cause: "gone from both sides since they were read", converged: true}, true
	case l.live() && r.live() && (l.state == record.FingerprintRejected || r.state == record.FingerprintRejected):
		return judgement{class: Changed, cause: "the present state could not be mapped; an older one is loaded"}, true
	case l.live() && r.live() && !s.asked:
		// It has come since. The left's state, for which nobody asked, is needed now.
		s.force = true
		return judgement{class: Unresolved, cause: "it came while it was compared"}, false
	case l.live() && r.live() && !differs:
		if shifted || c.moved(left, s.first[left], *l) || c.moved(right, s.first[right], *r) {
			return judgement{class: InFlight, cause: "equal when it was looked at again", converged: true}, true
		}
		return judgement{}, true
	case l.live() && r.live():
		if static && newer(r, l) && ro.Sealed {
			return judgement{class: InFlight, cause: "changed after the snapshot was made"}, true
		}
		return judgement{class: Changed, cause: c.whyChanged(l, r, lo, ro)}, !changing && (static || !c.recent(l.updated))
	case l.live():
		return c.classifyMissing(s, l, r, ro, static, changing)
	}
	return c.classifyExtra(s, l, r, lo, ro, static, changing)
}

// unread says why an object could not be read, "" if it was. Of knowledge only the object may say so.
func unread(h *half, o *Object) string {
	switch {
	case o != nil && o.State == record.FingerprintUnread:
		return "could not be read: " + or(o.Note, "the reason is not known")
	case h.live() && h.state == record.FingerprintUnread:
		return "could not be read"
	}
	return ""
}

// kept reports whether a side knows the object as a reject, and does not have it.
func kept(o *Object) bool {
	return o != nil && o.State == record.FingerprintRejected && o.Fingerprint.Count == 0
}

func (c *checker) whyChanged(l, r *half, lo, ro *Object) string {
	switch t := lo.Change.Transcript; {
	case ro.Note != "":
		return ro.Note
	case t != nil && !t.Complete && c.entity == "transcripts":
		return "loaded but different; Intercom gives not all messages of it (incomplete)"
	case l.updated > r.updated && r.updated > 0, !c.sides[left].Moves() && newer(l, r):
		return "an older state is loaded"
	case !ro.Sealed && !ro.Shared:
		return "loaded but different: its values do not match its own content hash, so it was changed in the target"
	}
	return "loaded but different"
}

func (c *checker) classifyMissing(s *suspect, l, r *half, ro *Object, static, changing bool) (judgement, bool) {
	settled := !changing && (static || !c.recent(l.updated))
	if ro != nil {
		switch {
		case ro.State == record.FingerprintRejected:
			return rejected(ro), true
		case ro.State == record.FingerprintExcluded && ro.Change.Gone == nil: // what has gone from the right must not be on the left
			return excluded(ro), true
		case ro.State == record.FingerprintExcluded, ro.State == record.FingerprintDeleted, ro.State == record.FingerprintGone:
			if static && ro.Version.Rank > 0 && newer(r, l) {
				return judgement{class: InFlight, cause: "deleted at the source after the snapshot was made"}, true
			}
			j := judgement{class: Missing, cause: or(ro.Note, c.goneThere())}
			if !static && !s.asked {
				s.force = true
				return j, false
			}
			return j, settled
		}
	}
	if l.state == record.FingerprintRejected {
		return unmapped, true
	}
	cause := c.notThere()
	if ro != nil && ro.Note != "" {
		cause = ro.Note
	}
	return judgement{class: Missing, cause: cause}, settled
}

// goneThere is what is known of an object that the right side knows to be gone.
func (c *checker) goneThere() string {
	if name := c.sides[right].Name(); name == "intercom" || strings.HasPrefix(name, "snapshot:") {
		return "deleted in " + name
	}
	return "marked as deleted in the target, but there at the source"
}

// notThere is what is known of an object of which the right side has nothing. Of contacts and companies the database still knows what it
// has loaded when the row is gone.
func (c *checker) notThere() string {
	switch name := c.sides[right].Name(); {
	case name != "postgres":
		return "not in " + name
	case c.entity == "end_users" || c.entity == "companies":
		return "never loaded"
	}
	return "not in the database"
}

var unmapped = judgement{class: Rejected, reason: "could not be mapped", cause: "could not be mapped"}

// rejected is what an object is that a side keeps as a reject.
func rejected(o *Object) judgement {
	return judgement{class: Rejected, reason: or(o.Note, "rejected"), cause: "rejected: " + or(o.Note, "see rejects")}
}

// excluded is what an object is that a side leaves out by a rule.
func excluded(o *Object) judgement {
	return judgement{class: Excluded, reason: or(o.Note, "excluded"), cause: "excluded: " + o.Note}
}

func (c *checker) classifyExtra(s *suspect, l, r *half, lo, ro *Object, static, changing bool) (judgement, bool) {
	if ro != nil && ro.Note != "" {
		return judgement{class: Extra, cause: ro.Note}, !changing
	}
	switch {
	case lo != nil && lo.State == record.FingerprintRejected:
		return rejected(lo), true
	case lo != nil && lo.State == record.FingerprintExcluded && lo.Change.Gone == nil: // what has gone from the left must not be on the right
		return excluded(lo), true
	case r.state == record.FingerprintRejected:
		return unmapped, true
	}
	if static && ro != nil && ro.Sealed {
		if l.here && newer(r, l) || !l.here && c.asof > 0 && r.fetched > c.asof {
			return judgement{class: InFlight, cause: "changed after the snapshot was made"}, true
		}
	}
	cause := "not at the source"
	if s.first[left].here || lo != nil {
		cause = "deleted at the source"
	}
	// Nobody says when an object went from the left: the right is given the time to follow.
	return judgement{class: Extra, cause: cause}, !changing && static
}

// exhausted says what an object is that was on the move at every look.
func (c *checker) exhausted(s *suspect, j judgement, moved bool) (judgement, bool) {
	l := &s.seen[left]
	if c.sides[left].Moves() && l.live() && l.updated > c.watermark.UnixMicro() {
		return judgement{class: InFlight, cause: "changed after the watermark"}, true
	}
	if moved {
		return judgement{class: Unresolved, cause: "it changed each time it was looked at"}, true
	}
	return j, true
}

// newer reports whether a is a newer state than b, as far as both say when they are of.
func newer(a, b *half) bool {
	if a.updated == 0 || b.updated == 0 {
		return false
	}
	return a.compare(b.updated, b.fetched, b.state) > 0
}

// close counts a suspect that is settled, and tells of it.
func (c *checker) close(ctx context.Context, s *suspect, lo, ro *Object, j judgement, faults []fault, rules map[string]bool) error {
	l, r := s.first[left].live(), s.first[right].live()
	fits := map[Class]bool{"": l && r, Changed: l && r, Missing: l && !r, Extra: r && !l, Rejected: l != r, Excluded: l != r, InFlight: true, Unresolved: true}
	if !fits[j.class] {
		j = judgement{class: Unresolved, cause: "it came or went while it was compared: compare again"}
	}
	c.result.count(j, l, r, len(rules) > 0)
	if j.class == "" || j.class == Changed {
		c.result.cells(c.entity, lo, ro, c.o.Level)
	}
	if j.class == "" {
		return nil
	}
	f := Finding{Entity: c.entity, SourceID: s.id, Class: j.class, Cause: j.cause, Rounds: s.looks, Converged: j.converged,
		LeftAt: at(s.seen[left], s.first[left]), RightAt: at(s.seen[right], s.first[right])}
	if ro != nil && len(ro.Rows) == 1 && isStray(s.id) {
		f.SourceID, f.RowID = strayID(c.entity, ro), s.id[len(StrayPrefix):]
	}
	if j.class != Changed || len(faults) == 0 {
		faults = []fault{{}}
	}
	for _, x := range faults {
		f := f
		f.Cells = x.cells
		if x.row != "" {
			f.RowID = x.row
		}
		if x.cause != "" {
			f.Cause = x.cause
		}
		c.result.sample(f, s.key)
		if err := c.o.Findings.Find(ctx, f, lo, ro); err != nil {
			return err
		}
	}
	return nil
}

// at is the time of the newest state of an object that a side is known to have had.
func at(seen, first half) time.Time {
	us := seen.updated
	if !seen.here {
		us = first.updated
	}
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
