package pipeline

import (
	"context"
	"time"
)

// Defaults of Limits.
const (
	DefaultRows  = 1000
	DefaultBytes = 4 << 20
	DefaultAge   = time.Second
)

// Limits of a batch that Rebatch makes. All three hold together. A zero field means its default, a
// negative one no such limit.
type Limits struct {
	Rows  int           // items and rejects
	Bytes int           // of items, as the size function has it, and of the rejects' payloads
	Age   time.Duration // from the arrival of the batch's first part; a trickle is committed this often
}

func (l Limits) orDefault() Limits {
	if l.Rows == 0 {
		l.Rows = DefaultRows
	}
	if l.Bytes == 0 {
		l.Bytes = DefaultBytes
	}
	if l.Age == 0 {
		l.Age = DefaultAge
	}
	return l
}

// Rebatch merges batches up to the limits, in order. It never splits one, since only its end has a
// cursor: a batch that is over a limit by itself leaves alone. Seq is counted anew from 0; the cursor is
// the last part's; Items, Rejects and Files are joined and Counts added. size gives an item's bytes; nil
// means that items have none. What is held when the flow ends, for whatever reason, is handed on.
func Rebatch[T any](f Flow[T], max Limits, size func(T) int) Flow[T] {
	n := &node{name: "rebatch", role: "rebatch", workers: 1, holds: 2}
	in, out := f.take(n.name), newLink[T](f.p, n.name)
	max = max.orDefault()
	n.run = func(e *env) {
		m := &merger[T]{max: max, size: size, n: n, out: out}
		end := errGoexit
		defer func() {
			if end == errGoexit {
				end = &Error{n.name, m.seq, end}
			}
			out.close(end)
			e.cancel()
		}()
		end = m.loop(e.ctx, in)
	}
	f.p.add(n)
	return Flow[T]{f.p, out}
}

// merger holds the batch that Rebatch is filling.
type merger[T any] struct {
	max  Limits
	size func(T) int
	n    *node
	out  *link[T]

	seq         uint64
	held        parcel[T]
	parts       int
	rows, bytes int
}

func (m *merger[T]) loop(ctx context.Context, in *link[T]) error {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	for {
		b, ok, due := m.next(in, timer)
		switch {
		case due:
			if err := m.flush(ctx); err != nil {
				return err
			}
			continue
		case !ok:
			if err := m.flush(ctx); err != nil {
				return err
			}
			return in.err
		}
		start := time.Now()
		rows, bytes, err := m.measure(b)
		since(&m.n.busy, start)
		if err != nil {
			// What came before this batch is good.
			if flushed := m.flush(ctx); flushed != nil {
				return flushed
			}
			return m.place(err)
		}
		if m.parts > 0 && (over(m.rows+rows, m.max.Rows) || over(m.bytes+bytes, m.max.Bytes)) {
			if err := m.flush(ctx); err != nil {
				return err
			}
		}
		if m.parts == 0 && m.max.Age > 0 {
			timer.Reset(m.max.Age)
		}
		m.merge(b, rows, bytes)
		if over(m.rows+1, m.max.Rows) || over(m.bytes+1, m.max.Bytes) {
			if err := m.flush(ctx); err != nil {
				return err
			}
		}
	}
}

func over(n, limit int) bool { return limit > 0 && n > limit }

// next waits for a batch, or for the held one to be due.
func (m *merger[T]) next(in *link[T], timer *time.Timer) (b parcel[T], ok, due bool) {
	if m.parts == 0 || m.max.Age < 0 {
		b, ok = in.receive(m.n)
		return b, ok, false
	}
	select {
	case <-timer.C:
		return b, false, true
	default:
	}
	start := time.Now()
	defer since(&m.n.waitIn, start)
	select {
	case b, ok = <-in.ch:
		if ok {
			in.count(m.n, b)
		}
		return b, ok, false
	case <-timer.C:
		return b, false, true
	}
}

func (m *merger[T]) measure(b parcel[T]) (rows, bytes int, err error) {
	rows = len(b.Items) + len(b.Rejects)
	for i := range b.Rejects {
		bytes += len(b.Rejects[i].Payload)
	}
	if m.size != nil {
		err = guard(func() error {
			for i := range b.Items {
				bytes += m.size(b.Items[i])
			}
			return nil
		})
	}
	return rows, bytes, err
}

func (m *merger[T]) merge(b parcel[T], rows, bytes int) {
	m.parts++
	m.rows += rows
	m.bytes += bytes
	if m.parts == 1 {
		m.held = b
		return
	}
	h := &m.held
	h.Items = append(h.Items, b.Items...)
	h.Rejects = append(h.Rejects, b.Rejects...)
	h.Files = append(h.Files, b.Files...)
	h.Counts.Merge(b.Counts)
	h.Cursor = b.Cursor
	h.read += b.read
	m.n.held.Add(-1) // two batches have become one
}

// flush hands on what is held, if anything.
func (m *merger[T]) flush(ctx context.Context) error {
	if m.parts == 0 {
		return nil
	}
	b := m.held
	b.Seq = m.seq
	m.held, m.parts, m.rows, m.bytes = parcel[T]{}, 0, 0, 0
	m.n.out.Add(int64(len(b.Items)))
	if err := m.out.send(ctx, m.n, b); err != nil {
		return m.place(err)
	}
	m.seq++
	return nil
}

func (m *merger[T]) place(err error) error { return &Error{m.n.name, m.seq, err} }
