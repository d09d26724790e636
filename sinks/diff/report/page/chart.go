package page

import "strings"

// Part is a part of a stacked bar.
type Part struct {
	Class string // of the style: matched, changed, missing, extra, rejected, excluded, in_flight, unresolved
	Label string
	N     int64
}

// Segment is a Part with its place in the bar, in thousandths of the bar's length.
type Segment struct {
	Part
	X, Width int
}

// Stack is a stacked bar.
type Stack struct {
	Label    string // says the whole bar in words
	Segments []Segment
}

// length of a bar, and the least length of a part that is not zero: it must be seen.
const (
	length = 1000
	least  = 6
)

// NewStack lays out the parts in a bar whose full length stands for scale; 0: for their sum. Each part that is not zero can be
// seen, at the expense of the longest.
func NewStack(name string, scale int64, parts ...Part) Stack {
	s := Stack{}
	var sum int64
	var words []string
	for _, p := range parts {
		if p.N > 0 {
			sum += p.N
			words = append(words, Count(p.N)+" "+p.Label)
		}
	}
	s.Label = name + ": " + strings.Join(words, ", ")
	if sum == 0 {
		s.Label = name + ": none"
		return s
	}
	scale = max(scale, sum)
	longest := -1
	total := 0
	for _, p := range parts {
		if p.N <= 0 {
			continue
		}
		width := max(least, int(float64(p.N)/float64(scale)*length+0.5))
		s.Segments = append(s.Segments, Segment{Part: p, Width: width})
		if longest < 0 || width > s.Segments[longest].Width {
			longest = len(s.Segments) - 1
		}
		total += width
	}
	if most := max(least*len(s.Segments), int(float64(sum)/float64(scale)*length+0.5)); total > most {
		s.Segments[longest].Width -= total - most
	}
	x := 0
	for i := range s.Segments {
		s.Segments[i].X = x
		x += s.Segments[i].Width
	}
	return s
}

// Bar is one bar of a chart of bars.
type Bar struct {
	Class string
	Label string // says the bar in words
	Name  string // stands beside it; may be empty
	N     int64
	Width int // in thousandths
}

// NewBar makes a bar whose full length stands for scale.
func NewBar(class, label string, n, scale int64) Bar {
	b := Bar{Class: class, Label: label, N: n}
	if n > 0 && scale > 0 {
		b.Width = min(length, max(least, int(float64(n)/float64(scale)*length+0.5)))
	}
	return b
}
