"""The words that fill the sentences: each is one token of the demo model."""

# fmt: off
PEOPLE = (
    "Mary", "John", "Tom", "James", "Dan", "Sid", "Martin", "Amy", "Anna", "Beth", "Carl", "Clara",
    "David", "Edith", "Emma", "Eric", "Frank", "Fred", "Grace", "Helen", "Henry", "Ian", "Iris", "Jack",
    "Jane", "Kate", "Kevin", "Laura", "Leo", "Linda", "Lucy", "Luke", "Maria", "Mark", "Nina", "Nora",
    "Oliver", "Oscar", "Paul", "Peter", "Rita", "Robert", "Rose", "Ruth", "Sam", "Sarah", "Simon", "Victor",
)
PLACES = (
    "store", "park", "school", "beach", "library", "garden", "station", "market",
    "restaurant", "museum", "cafe", "hospital", "theatre", "harbour", "farm", "church",
)
OBJECTS = (
    "drink", "ring", "book", "letter", "kiss", "ball", "basket", "necklace",
    "computer", "pencil", "ticket", "flower", "lamp", "hat", "map", "coin",
)
