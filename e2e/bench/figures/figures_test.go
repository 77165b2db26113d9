package figures

import "testing"

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		in   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := Median(tt.in); got != tt.want {
			t.Errorf("Median(%v) = %v, want %v", tt.in, got, tt.want)
		}
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[99-i] = float64(i + 1)
	}
	for _, tt := range []struct {
		in   []float64
		p    float64
		want float64
	}{{nil, 99, 0}, {[]float64{7}, 90, 7}, {hundred, 90, 90}, {hundred, 99, 99}, {hundred, 100, 100}, {[]float64{1, 2, 3}, 90, 3}} {
		if got := Percentile(tt.in, tt.p); got != tt.want {
			t.Errorf("Percentile of %d samples, %v: %v, want %v", len(tt.in), tt.p, got, tt.want)
		}
	}
}

func TestVerdict(t *testing.T) {
	var table Table
	table.Add(Figure{Samples: []float64{1, 2, 3}, Target: 2})
	table.Add(Figure{Samples: []float64{1, 9, 3}, Target: 2})
	table.Add(Figure{Samples: []float64{0}, Zero: true})
	table.Add(Figure{Samples: []float64{1}, Zero: true})
	table.Add(Figure{Samples: []float64{1}})
	if got := table.Missed(); got != 2 {
		t.Errorf("%d missed, want 2", got)
	}
}
