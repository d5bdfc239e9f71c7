// The attackers' executable. All of it that matters is in attack.c: an executable can only take its own file out of memory when it runs from another one.

int attack(int count, char **argument);

int main(int count, char **argument) {
    return attack(count, argument);
}
