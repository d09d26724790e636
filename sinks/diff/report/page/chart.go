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
// seen, at the expense of the longer ones.
func NewStack(name string, scale int64, parts ...Part) Stack {
	var s Stack
	var sum float64
	var words []string
	for _, p := range parts {
		if p.N > 0 {
			sum += float64(p.N)
			words = append(words, Count(p.N)+" "+p.Label)
			s.Segments = append(s.Segments, Segment{Part: p})
		}
	}
	s.Label = name + ": " + strings.Join(words, ", ")
	if len(words) == 0 {
		s.Label = name + ": none"
		return s
	}
	whole := max(sum/max(float64(scale), sum)*length, float64(least*len(s.Segments)))
	// Parts that would be too short get the least length, and the others share what is left; that may make further ones too short.
	short := make([]bool, len(s.Segments))
	left, share := whole, sum
	for again := true; again; {
		again = false
		for i, seg := range s.Segments {
			if !short[i] && float64(seg.N)/share*left < least {
				short[i], again = true, true
				left -= least
				share -= float64(seg.N)
			}
		}
	}
	end := 0.0
	for i := range s.Segments {
		seg := &s.Segments[i]
		seg.X = int(end + 0.5)
		if short[i] {
			end += least
		} else {
			end += float64(seg.N) / share * left
		}
		seg.Width = int(end+0.5) - seg.X
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
