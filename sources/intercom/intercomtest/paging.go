package intercomtest

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"slices"
	"sync"
)

// A place in an ordered walk is a packed word: the value of the sort field in
// the upper half, counted from the start of the workspace, and the object's index
// in the lower. Paging goes on after a place rather than after a number of rows,
// as the real cursors do: a row whose updated_at changes jumps to another place.

func (w *Workspace) pack(value int64, index int) uint64 {
	d := value - w.opts.Start.Unix()
	if d < 0 {
		d = 0
	}
	if d > math.MaxUint32 {
		d = math.MaxUint32
	}
	return uint64(d)<<32 | uint64(uint32(index))
}

func (w *Workspace) unpack(p uint64) (value int64, index int) {
	return int64(p>>32) + w.opts.Start.Unix(), int(uint32(p))
}

// untouched gives the generated objects in the order of updated_at, made on
// first use.
func (w *Workspace) untouched(s *shelf) []uint64 {
	s.orderOnce.Do(func() {
		s.order = make([]uint64, s.base)
		for i := range s.order {
			s.order[i] = w.pack(w.gen.updated(s.kind, i), i)
		}
		slices.Sort(s.order)
	})
	return s.order
}

// touched gives the changed and added objects that are alive, in the order of
// updated_at.
func (w *Workspace) touched(s *shelf) []uint64 {
	s.movedMu.Lock()
	defer s.movedMu.Unlock()
	w.mu.RLock()
	version := w.version + 1
	if s.movedAt == version {
		w.mu.RUnlock()
		return s.moved
	}
	list := make([]uint64, 0, len(s.deltas))
	for i, d := range s.deltas {
		if !d.gone() {
			updated := d.updated
			if updated == 0 {
				if i >= s.base {
					updated = s.born[i-s.base]
				} else {
					updated = w.gen.updated(s.kind, i)
				}
			}
			list = append(list, w.pack(updated, i))
		}
	}
	w.mu.RUnlock()
	slices.Sort(list)
	s.moved, s.movedAt = list, version
	return list
}

// walk visits the living objects of a kind in an order, those with the sort
// field in [lo, hi] and after the given place, until visit returns false.
func (w *Workspace) walk(k Kind, o Order, lo, hi int64, after *uint64, visit func(place uint64) bool) {
	s := w.shelf(k)
	first, last := uint64(0), uint64(math.MaxUint64)
	start := w.opts.Start.Unix()
	if hi < start || lo > hi {
		return
	}
	if lo > start {
		first = w.pack(lo, 0)
	}
	if hi < start+math.MaxUint32 {
		last = w.pack(hi, math.MaxUint32)
	}
	if after != nil {
		if o.Descending {
			if *after == 0 {
				return
			}
			last = min(last, *after-1)
		} else {
			if *after == math.MaxUint64 {
				return
			}
			first = max(first, *after+1)
		}
	}
	if o.Field == "created_at" {
		w.walkCreated(k, o.Descending, first, last, visit)
		return
	}
	w.mu.RLock()
	changed := len(s.deltas) > 0
	w.mu.RUnlock()
	base := between(w.untouched(s), first, last)
	var moved []uint64
	if changed {
		moved = between(w.touched(s), first, last)
	}
	for len(base) > 0 || len(moved) > 0 {
		var p uint64
		fromBase := false
		if o.Descending {
			fromBase = len(moved) == 0 || len(base) > 0 && base[len(base)-1] > moved[len(moved)-1]
			if fromBase {
				p, base = base[len(base)-1], base[:len(base)-1]
			} else {
				p, moved = moved[len(moved)-1], moved[:len(moved)-1]
			}
		} else {
			fromBase = len(moved) == 0 || len(base) > 0 && base[0] < moved[0]
			if fromBase {
				p, base = base[0], base[1:]
			} else {
				p, moved = moved[0], moved[1:]
			}
		}
		if fromBase && changed && w.delta(k, int(uint32(p))) != nil {
			continue // it has moved
		}
		if !visit(p) {
			return
		}
	}
}

func between(list []uint64, first, last uint64) []uint64 {
	a, _ := slices.BinarySearch(list, first)
	b, found := slices.BinarySearch(list, last)
	if found {
		b++
	}
	if a > b {
		return nil
	}
	return list[a:b]
}

// walkCreated needs no index: objects are created in the order of their indexes.
func (w *Workspace) walkCreated(k Kind, descending bool, first, last uint64, visit func(uint64) bool) {
	n := w.count(k)
	at := func(i int) uint64 { return w.pack(w.created(k, i), i) }
	a := search(n, func(i int) bool { return at(i) >= first })
	b := search(n, func(i int) bool { return at(i) > last })
	for a < b {
		i := a
		if descending {
			b--
			i = b
		} else {
			a++
		}
		if w.alive(k, i) && !visit(at(i)) {
			return
		}
	}
}

func search(n int, f func(int) bool) int {
	lo, hi := 0, n
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		if f(m) {
			hi = m
		} else {
			lo = m + 1
		}
	}
	return lo
}

// countCache remembers how many rows a query has, which every page tells.
type countCache struct {
	mu      sync.Mutex
	version uint64
	n       map[string]int
}

func (w *Workspace) cached(key string, count func() int) int {
	c := &w.counts
	w.mu.RLock()
	version := w.version
	w.mu.RUnlock()
	c.mu.Lock()
	if c.n == nil || c.version != version || len(c.n) > 500 {
		c.n, c.version = map[string]int{}, version
	}
	n, ok := c.n[key]
	c.mu.Unlock()
	if ok {
		return n
	}
	n = count()
	c.mu.Lock()
	if c.version == version {
		c.n[key] = n
	}
	c.mu.Unlock()
	return n
}

// cursor is what starting_after holds: the place, the object's id and the page,
// in the manner of Intercom's own.
type cursor struct {
	place uint64
	start bool // before the first row
	page  int
}

func (w *Workspace) encodeCursor(k Kind, c cursor) string {
	value, i := w.unpack(c.place)
	id := ""
	if !c.start {
		id = w.idOf(k, i)
	}
	sum := mix64(uint64(value)*31+uint64(i)+uint64(c.page)<<40+w.opts.Seed) & 0xffff
	b, _ := json.Marshal([]any{value * 1000, id, c.page, sum}) // cannot fail
	return base64.StdEncoding.EncodeToString(b)
}

func (w *Workspace) decodeCursor(k Kind, s string) (cursor, bool) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return cursor{}, false
	}
	var value int64
	var id string
	var page int
	var sum uint64
	if json.Unmarshal(b, &[]any{&value, &id, &page, &sum}) != nil || page < 1 {
		return cursor{}, false
	}
	c := cursor{page: page, start: id == ""}
	i := 0
	if c.start {
		value = w.opts.Start.Unix() * 1000
	} else {
		var ok bool
		if i, ok = w.find(k, id); !ok {
			return c, false
		}
	}
	value /= 1000
	c.place = w.pack(value, i)
	return c, w.encodeCursor(k, c) == s
}

func (w *Workspace) idOf(k Kind, i int) string {
	switch k {
	case Conversations:
		return conversationID(i)
	case Contacts:
		return w.base().contactID(i, w.created(k, i))
	case Companies:
		return w.companyID(i)
	}
	if c := w.gen.ticketConversation(i); c >= 0 {
		return conversationID(c)
	}
	return ticketOnlyID(i)
}
