package intercomtest

// rng is SplitMix64. It is written out here because everything the simulator
// holds is a function of its output: a generator of the standard library may
// change between Go releases, and a seed must mean the same workspace forever.
type rng struct{ s uint64 }

// mix64 is the SplitMix64 finaliser, a bijection on 64 bits that spreads every
// input bit over the whole word.
func mix64(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// newRNG starts an independent stream for one object. Streams of one seed
// differ by purpose (what is drawn) and index (for which object).
func newRNG(seed uint64, purpose stream, index int) rng {
	return rng{s: mix64(mix64(seed+uint64(purpose)*0x9e3779b97f4a7c15) + uint64(index)*0xd1342543de82ef95)}
}

// stream separates the draws of one object by purpose, so that a new field in
// one place does not change the values of another.
type stream uint64

const (
	streamConversationHead stream = iota + 1
	streamConversationBody
	streamContact
	streamContactCompanies
	streamCompany
	streamTicket
	streamTicketBody
	streamFault
	streamDeleted
	streamChange
	streamReference
	streamWebhook
)

func (r *rng) next() uint64 {
	r.s += 0x9e3779b97f4a7c15
	return mix64(r.s)
}

// n draws from [0, k). A k below 2 gives 0.
func (r *rng) n(k int) int {
	if k < 2 {
		return 0
	}
	return int((r.next() >> 32) * uint64(k) >> 32)
}

// between draws from [lo, hi].
func (r *rng) between(lo, hi int) int { return lo + r.n(hi-lo+1) }

// permille is true k times in 1000.
func (r *rng) permille(k int) bool { return r.n(1000) < k }

func pick[T any](r *rng, from []T) T { return from[r.n(len(from))] }
