package distill

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
)

// The methods that the distiller is compared with, and by how much it has to be better.

func lead4(d *dialogue) string {
	text, _ := d.sentences()
	return strings.Join(text[:min(4, len(text))], " ")
}

// longest3 are the three sentences of the most words, in their order.
func longest3(d *dialogue) string {
	text, _ := d.sentences()
	return best(text, 3, func(i int) float64 { return float64(len(rougeWords(text[i]))) })
}

// best joins the n sentences of the highest score, in their order; of equal ones the earlier.
func best(text []string, n int, score func(int) float64) string {
	order := make([]int, len(text))
	scores := make([]float64, len(text))
	for i := range text {
		order[i], scores[i] = i, score(i)
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
	order = order[:min(n, len(order))]
	slices.Sort(order)
	var picks []string
	for _, i := range order {
		picks = append(picks, text[i])
	}
	return strings.Join(picks, " ")
}

// lexRank chooses the sentences that are most like the others: the stationary distribution of a walk between sentences whose
// TF-IDF vectors have a cosine of 0.1 or more, with a chance of 0.15 to go anywhere (Erkan and Radev, 2004).
type lexRank struct{ idf map[string]float64 }

func newLexRank(all []dialogue) *lexRank {
	l := &lexRank{idf: map[string]float64{}}
	n := 0.0
	for i := range all {
		text, _ := all[i].sentences()
		for _, s := range text {
			n++
			words := rougeWords(s)
			slices.Sort(words)
			for _, w := range slices.Compact(words) {
				l.idf[w]++
			}
		}
	}
	for w, df := range l.idf {
		l.idf[w] = math.Log(n / df)
	}
	return l
}

func (l *lexRank) summary(d *dialogue) string {
	text, _ := d.sentences()
	n := len(text)
	vectors := make([]map[string]float64, n)
	for i, s := range text {
		v := map[string]float64{}
		for _, w := range rougeWords(s) {
			v[w] += l.idf[w]
		}
		vectors[i] = v
	}
	near := make([][]int, n)
	for i := range n {
		for j := range n {
			if cosine(vectors[i], vectors[j]) >= 0.1 {
				near[i] = append(near[i], j)
			}
		}
	}
	p := make([]float64, n)
	for i := range p {
		p[i] = 1 / float64(n)
	}
	for range 100 {
		next := make([]float64, n)
		for i := range next {
			next[i] = 0.15 / float64(n)
		}
		for i := range n {
			to := near[i]
			if len(to) == 0 { // a sentence without words leads everywhere
				for j := range n {
					next[j] += 0.85 * p[i] / float64(n)
				}
			}
			for _, j := range to {
				next[j] += 0.85 * p[i] / float64(len(to))
			}
		}
		p = next
	}
	return best(text, 4, func(i int) float64 { return p[i] })
}

func cosine(a, b map[string]float64) float64 {
	dot, aa, bb := 0.0, 0.0, 0.0
	for _, w := range sortedWords(a) { // in a fixed order, so that sums are equal everywhere
		dot += a[w] * b[w]
		aa += a[w] * a[w]
	}
	for _, w := range sortedWords(b) {
		bb += b[w] * b[w]
	}
	if dot == 0 {
		return 0
	}
	return dot / math.Sqrt(aa*bb)
}

func sortedWords(m map[string]float64) []string {
	words := make([]string, 0, len(m))
	for w := range m {
		words = append(words, w)
	}
	slices.Sort(words)
	return words
}

// interval is the mean of paired differences and where 95 of 100 means of resampled ones lie.
type interval struct{ mean, low, high float64 }

func bootstrap(differences []float64) interval {
	const rounds = 2000
	random := rand.New(rand.NewPCG(1, 2)) // the same each time
	n := len(differences)
	means := make([]float64, rounds)
	for r := range means {
		sum := 0.0
		for range n {
			sum += differences[random.IntN(n)]
		}
		means[r] = sum / float64(n)
	}
	slices.Sort(means)
	sum := 0.0
	for _, d := range differences {
		sum += d
	}
	return interval{sum / float64(n), means[rounds*25/1000], means[rounds*975/1000-1]}
}
