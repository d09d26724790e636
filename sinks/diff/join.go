package diff

import (
	"encoding/binary"

	"github.com/apache/arrow/go/v17/arrow"

	"haloingest/pipeline/record"
)

// half is what one side has of an object.
type half struct {
	hash     record.Digest
	updated  int64
	fetched  int64
	count    int32
	state    record.FingerprintState
	here     bool // the side has it, in whatever state
	doubtful bool
}

// live reports whether the object counts on that side.
func (h *half) live() bool { return h.here && h.state.Live() && h.count > 0 }

// newer orders two states of one object; see Side.Fingerprints.
func (h *half) compare(updated, fetched int64, state record.FingerprintState) int {
	switch {
	case h.updated != updated:
		return order(h.updated, updated)
	case h.fetched != fetched:
		return order(h.fetched, fetched)
	}
	return order(rank(h.state), rank(state))
}

func order(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// rank is record.Version's: of two states of one time, word that the object is gone counts.
func rank(s record.FingerprintState) int64 {
	if s == record.FingerprintGone || s == record.FingerprintDeleted {
		return 1
	}
	return 0
}

const left, right = 0, 1

// entry is an object on both sides.
type entry struct {
	key   digest
	side  [2]half
	id    uint32 // where it begins in table.ids
	idLen uint32
}

// table joins the two sides of one partition: a hash table with open addressing over the keys, which are random already.
// Not safe for concurrent use; reset keeps its memory.
type table struct {
	entries []entry
	slots   []uint32 // index of the entry, plus one
	ids     []byte
	sums    bool      // parts of one version are added up
	tally   [2]*Tally // Folded and Superseded are counted here
}

func (t *table) reset(expect int) {
	size := 1024
	for size < 2*expect {
		size *= 2
	}
	if cap(t.slots) < size {
		t.slots = make([]uint32, size)
	}
	t.slots = t.slots[:size]
	clear(t.slots)
	t.entries, t.ids = t.entries[:0], t.ids[:0]
}

// find returns the entry of a key, a new one if there is none.
func (t *table) find(key digest, id []byte) *entry {
	if 2*len(t.entries) >= len(t.slots) {
		t.grow()
	}
	mask := uint64(len(t.slots) - 1)
	for i := binary.LittleEndian.Uint64(key[8:]) & mask; ; i = (i + 1) & mask {
		switch n := t.slots[i]; {
		case n == 0:
			t.slots[i] = uint32(len(t.entries) + 1)
			t.entries = append(t.entries, entry{key: key, id: uint32(len(t.ids)), idLen: uint32(len(id))})
			t.ids = append(t.ids, id...)
			return &t.entries[len(t.entries)-1]
		case t.entries[n-1].key == key:
			return &t.entries[n-1]
		}
	}
}

func (t *table) grow() {
	t.slots = make([]uint32, 2*len(t.slots))
	mask := uint64(len(t.slots) - 1)
	for n := range t.entries {
		i := binary.LittleEndian.Uint64(t.entries[n].key[8:]) & mask
		for t.slots[i] != 0 {
			i = (i + 1) & mask
		}
		t.slots[i] = uint32(n + 1)
	}
}

// name is the id of an entry's object.
func (t *table) name(e *entry) string { return string(t.ids[e.id : e.id+e.idLen]) }

// take adds a record batch of one side: of the keys whose second byte, masked, is pass.
func (t *table) take(side int, r arrow.Record, mask, pass byte) error {
	rows, err := readerOf(r)
	if err != nil {
		return err
	}
	tally := t.tally[side]
	for i := range rows.state {
		key := digest(rows.key.Value(i))
		if key[1]&mask != pass {
			continue
		}
		h := &t.find(key, rows.ids.Value(i)).side[side]
		state := record.FingerprintState(rows.state[i])
		if state == record.FingerprintDoubtful {
			h.doubtful = true
			continue
		}
		if h.here {
			c := h.compare(rows.updated[i], rows.fetched[i], state)
			if t.sums && c == 0 && rank(state) == 0 {
				h.hash = h.hash.Plus(record.Digest(rows.hash.Value(i)))
				h.count += rows.count[i]
				tally.Folded++
				continue
			}
			tally.Superseded++
			if c > 0 {
				continue
			}
		}
		h.hash, h.updated, h.fetched = record.Digest(rows.hash.Value(i)), rows.updated[i], rows.fetched[i]
		h.count, h.state, h.here = rows.count[i], state, true
	}
	return nil
}

// passes is how many times a partition is to be gone through, so that what is joined at once fits into the limit: a power of two.
func passes(bytes, limit int64) int {
	n := 1
	for int64(n)*limit < 3*bytes && n < 256 {
		n *= 2
	}
	return n
}

// joined calls f with all entries of a partition of two stores.
func (t *table) joined(part int, sides [2]*store, limit int64, f func(*entry) error) error {
	bytes := sides[left].parts[part].bytes + sides[right].parts[part].bytes
	n := passes(bytes, limit)
	for pass := range n {
		t.reset(int(bytes/(2*80)) / n)
		for side, s := range sides {
			err := s.each(part, func(r arrow.Record) error { return t.take(side, r, byte(n-1), byte(pass)) })
			if err != nil {
				return err
			}
		}
		for i := range t.entries {
			if err := f(&t.entries[i]); err != nil {
				return err
			}
		}
	}
	return nil
}
