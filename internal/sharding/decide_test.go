package sharding

import "testing"

func TestAShardHoldsWhatIsPlacedInItAndRecordedSo(t *testing.T) {
	first := Shard{1, 2}
	for name, tt := range map[string]struct {
		own       Shard
		owner     int
		record    string
		confirmed bool
		want      Step
	}{
		"its own":                                         {first, 1, "1/2", true, Hold},
		"its own by the cache alone":                      {first, 1, "1/2", false, AwaitCache},
		"recorded for another":                            {first, 1, "2/2", false, Take},
		"recorded for the same of another division":       {first, 1, "1/3", false, Take},
		"recorded for the whole":                          {first, 1, "", false, Take},
		"another's, and recorded as its own":              {first, 2, "1/2", true, HandOver},
		"another's, and recorded so":                      {first, 2, "2/2", false, Leave},
		"another's, and of another division":              {first, 2, "1/3", false, Leave},
		"not placed, and recorded as its own":             {first, 0, "1/2", true, Leave},
		"not placed":                                      {first, 0, "", false, Leave},
		"of a fleet that is not divided":                  {Whole, 1, "", true, Hold},
		"of a fleet that was divided and is not any more": {Whole, 1, "2/2", false, Take},
	} {
		if got := Decide(tt.own, tt.owner, tt.record, tt.confirmed); got != tt.want {
			t.Errorf("%s: step %d, want %d", name, got, tt.want)
		}
	}
}

// TestNoTwoShardsHoldOneCluster of one division, whatever is recorded.
func TestNoTwoShardsHoldOneCluster(t *testing.T) {
	const count = 3
	for owner := range count + 1 {
		for _, record := range []string{"", "1/3", "2/3", "3/3", "1/2", "2/2"} {
			holders := 0
			for k := 1; k <= count; k++ {
				if Decide(Shard{k, count}, owner, record, true) == Hold {
					holders++
				}
			}
			if holders > 1 {
				t.Errorf("placed in %d, recorded %q: %d hold it", owner, record, holders)
			}
		}
	}
}
