package firewall

// DiffLists walks two ordered lists that shall become equal: add and remove are called in
// order, with the longest common part kept. For lists of rules, where order matters.
func DiffLists[T any](want, have []T, equal func(a, b T) bool, add, remove func(T)) {
	// length[i][j] is the longest common subsequence of want[i:] and have[j:].
	length := make([][]int, len(want)+1)
	for i := range length {
		length[i] = make([]int, len(have)+1)
	}
	for i := len(want) - 1; i >= 0; i-- {
		for j := len(have) - 1; j >= 0; j-- {
			if equal(want[i], have[j]) {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	for i, j := 0, 0; i < len(want) || j < len(have); {
		switch {
		case i < len(want) && j < len(have) && equal(want[i], have[j]):
			i, j = i+1, j+1
		case i < len(want) && (j == len(have) || length[i+1][j] >= length[i][j+1]):
			add(want[i])
			i++
		default:
			remove(have[j])
			j++
		}
	}
}
