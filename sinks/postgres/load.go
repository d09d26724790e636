package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// outcome is what became of one item. Every item gets exactly one; they are the last part of the names of the counts.
type outcome uint8

const (
	inserted outcome = iota + 1 // a row was made
	updated                     // a row that was there was changed, or the object was matched to one
	equal                       // nothing was to be done: the target says the same already
	stale                       // a newer state or tombstone is there
	deleted                     // a row was marked deleted
	rejected
)

var outcomes = [...]string{"", "inserted", "updated", "equal", "stale", "deleted", "rejected"}

func (o outcome) String() string { return outcomes[o] }

// item is one change on its way.
type item struct {
	change  *record.Change
	version record.Version // with the microseconds that PostgreSQL keeps
	outcome outcome
	place   int // in its round
	// transcript is what is written in place of change.Transcript, when messages were added that are held already.
	transcript *record.TranscriptRow
	reject     pipeline.Reject
}

func (it *item) head() *record.Head {
	c := it.change
	switch {
	case c.EndUser != nil:
		return &c.EndUser.Head
	case c.Company != nil:
		return &c.Company.Head
	case it.transcript != nil:
		return &it.transcript.Head
	case c.Ticket != nil:
		return &c.Ticket.Head
	}
	return nil
}

// rowID is the key of a transcript's or ticket's row.
func (it *item) rowID() record.UUID { return it.head().ID }

func sourceIDs(items []*item) []string {
	ids := make([]string, len(items))
	for i, it := range items {
		ids[i] = it.change.SourceID
	}
	return ids
}

// loader is one attempt to load one batch, in one transaction. Not safe for concurrent use.
type loader struct {
	*session
	tx      pgx.Tx
	run     *Run
	org     record.UUID
	targets *targets
	careful bool // expect conflicts: nothing goes straight into a target
	rewrite bool // write what is the same by its digest, too
	counts  pipeline.Counts
	used    map[*target]bool // temp tables that hold rows of this transaction
	scratch *scratch
	encoder *record.Encoder
	limit   pipeline.RejectLimit
	tally   tally                    // of the sink, this batch included
	fault   func(point string) error // see Sink
	again   *Again                   // see SinkOptions
	waited  []time.Duration          // see Committed; like refused
	refused int
}

// scratch is memory that batches share.
type scratch struct {
	rows, knowledge copyBuffer
	stored          []stored
	keys            []byte
	seen            map[key]bool
	round, rest     []*item
	contacts        map[string]ref
	companies       map[string]ref
	ids             []string
}

type key struct {
	kind record.Kind
	id   string
}

// load loads items so that a batch does what its items would do one by one. Contacts and companies are decided in the order in which they
// came (see identity.go); of a conversation or ticket that is there more than once every round loads one state.
func (l *loader) load(ctx context.Context, items []*item) error {
	s := l.scratch
	if s.seen == nil {
		s.seen = make(map[key]bool)
	}
	rest := append(s.rest[:0], items...)
	for len(rest) > 0 {
		clear(s.seen)
		round, next := s.round[:0], rest[:0]
		for _, it := range rest {
			k := key{it.change.Kind, it.change.SourceID}
			if person := k.kind == record.KindContact || k.kind == record.KindCompany; !person && s.seen[k] {
				next = append(next, it)
				continue
			} else if !person {
				s.seen[k] = true
			}
			round = append(round, it)
		}
		s.round, rest = round, next
		if err := l.loadRound(ctx, round); err != nil {
			return err
		}
	}
	s.rest = rest
	return nil
}

// groups are the items of a round by what is to be done with them.
type groups struct {
	companies, contacts, transcripts, tickets []*item
	goneTranscripts, goneTickets              []*item
	sameCompanies, sameContacts               []*item // left out, because they are there as they came
}

func (l *loader) loadRound(ctx context.Context, items []*item) error {
	var g groups
	for i, it := range items {
		it.place = i
		gone := it.change.Gone != nil
		switch kind := it.change.Kind; {
		case kind == record.KindCompany:
			g.companies = append(g.companies, it)
		case kind == record.KindContact:
			g.contacts = append(g.contacts, it)
		case kind == record.KindConversation && gone:
			g.goneTranscripts = append(g.goneTranscripts, it)
		case kind == record.KindConversation:
			g.transcripts = append(g.transcripts, it)
		case gone:
			g.goneTickets = append(g.goneTickets, it)
		default:
			g.tickets = append(g.tickets, it)
		}
	}
	if !l.rewrite {
		if err := l.dropEqual(ctx, &g); err != nil {
			return err
		}
	}
	if err := l.lock(ctx, &g); err != nil {
		return err
	}
	if err := l.loadPeople(ctx, record.KindCompany, g.companies, g.sameCompanies); err != nil {
		return err
	}
	if err := l.loadPeople(ctx, record.KindContact, g.contacts, g.sameContacts); err != nil {
		return err
	}
	if err := l.bury(ctx, record.KindConversation, g.goneTranscripts); err != nil {
		return err
	}
	if err := l.loadTranscripts(ctx, g.transcripts); err != nil {
		return err
	}
	if err := l.bury(ctx, record.KindTicket, g.goneTickets); err != nil {
		return err
	}
	return l.loadTickets(ctx, g.tickets)
}

// dropEqual takes out, before any lock, the contacts, companies and tickets that are there as they came. That is most of them
// when a workspace is read again. (Conversations need no exclusive lock and are probed under the shared one.)
func (l *loader) dropEqual(ctx context.Context, g *groups) error {
	var err error
	if g.companies, g.sameCompanies, err = l.dropEqualPeople(ctx, record.KindCompany, g.companies); err != nil {
		return err
	}
	if g.contacts, g.sameContacts, err = l.dropEqualPeople(ctx, record.KindContact, g.contacts); err != nil {
		return err
	}
	found, err := l.probe(ctx, probeTickets, g.tickets)
	if err != nil {
		return err
	}
	left := g.tickets[:0]
	for i, it := range g.tickets {
		if found[i].found && found[i].hash == it.head().Hash {
			it.outcome = equal
			continue
		}
		left = append(left, it)
	}
	g.tickets = left
	return nil
}

// dropEqualPeople is dropEqual for the kinds whose state is in ingest.id_map. A binding whose row has gone does not count.
func (l *loader) dropEqualPeople(ctx context.Context, kind record.Kind, items []*item) (left, dropped []*item, err error) {
	ids := l.scratch.ids[:0]
	for _, it := range items {
		if it.change.Gone == nil {
			ids = append(ids, it.change.SourceID)
		}
	}
	l.scratch.ids = ids
	if len(ids) == 0 {
		return items, nil, nil
	}
	same := make(map[string]record.Digest, len(ids))
	s := probeContactHashes
	if kind == record.KindCompany {
		s = probeCompanyHashes
	}
	field := l.idField(kind)
	err = l.each(ctx, s, appendTexts(l.scratch.keys[:0], ids), len(ids), func(i int, v [][]byte) error {
		if field != "" && len(v[2]) > 0 && string(v[2]) != field {
			return nil // it is to be bound anew
		}
		var hash record.Digest
		copy(hash[:], v[1])
		same[ids[i]] = hash
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	left = items[:0]
	for _, it := range items {
		if hash, ok := same[it.change.SourceID]; ok && it.change.Gone == nil && hash == it.head().Hash {
			it.outcome = equal
			dropped = append(dropped, it)
			continue
		}
		left = append(left, it)
	}
	return left, dropped, nil
}

// lock orders the batches of an organisation that have to see each other. Whoever changes what others link to (contacts,
// companies, tombstones) holds the lock alone, and so does a ticket that looks for its transcript; who only looks up what to link to shares
// it. Otherwise a conversation could note that its customer is not known in the same moment in which the customer arrives and
// finds nothing to repair. It is taken before any row of Halo's is locked, and held until the transaction ends.
func (l *loader) lock(ctx context.Context, g *groups) error {
	alone := len(g.companies)+len(g.contacts)+len(g.goneTranscripts)+len(g.goneTickets) > 0
	for _, it := range g.tickets {
		alone = alone || it.change.Ticket.ConversationID != ""
	}
	sql := "SELECT pg_advisory_xact_lock_shared($1)"
	switch {
	case alone:
		sql = "SELECT pg_advisory_xact_lock($1)"
	case len(g.transcripts)+len(g.tickets) == 0:
		return nil
	}
	_, err := l.conn.Exec(ctx, sql, linkLock(l.org))
	return err
}

// linkLock is the number of the advisory lock.
func linkLock(org record.UUID) int64 {
	sum := sha256.Sum256(append([]byte("haloingest links "), org[:]...))
	return int64(binary.BigEndian.Uint64(sum[:8]))
}

// outdated reports whether a state that came is older than the stored one. A state counts by record.Version, whose first part is Intercom's time
// and may have been moved in the row. A repair asks the source anew, so to it only what was read after its own read is newer.
func (l *loader) outdated(came, stored record.Version) bool {
	if l.rewrite {
		return stored.FetchedAt.After(came.FetchedAt)
	}
	return stored.Compare(came) > 0
}

// ends reports whether a tombstone that came ends the stored state; see outdated for a repair.
func (l *loader) ends(t tombstone, stored record.Version) bool {
	if l.rewrite {
		return !stored.FetchedAt.After(t.Fetched)
	}
	return t.version().Ends(stored)
}

// stamp is what the row of an item gets beside its values. updated_at is when the state that the row shows was read: of two
// states with the same time of Intercom's the one that was read later counts, and there is no other place for it.
func (l *loader) stamp(it *item, gone time.Time) stamp {
	s := stamp{run: l.run.ID, created: it.head().SourceCreatedAt, updated: it.version.FetchedAt, deleted: gone}
	if s.created.IsZero() {
		s.created = s.updated
	}
	return s
}
